"""A model's graph as TensorBoard's GRAPHS tab reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dovetail.run.graph_trace import Node

_PRODUCER = 22
"""The version of the message that is written."""


def graph_def(nodes: Sequence[Node], device: str = "cpu") -> Any:
    """Return the GraphDef message of some nodes.

    A node that appears twice (a parameter that two layers share) is written once, and an input
    that is no node is left out: TensorBoard shows neither.

    Args:
      nodes: of the graph.
      device: what they run on, "cpu" or "cuda:0", by which TensorBoard can colour them.

    Example:
      >>> graph = graph_def([Node("x", "Input", shapes=((4, 2),)), Node("y", "relu", ("x", "z"))])
      >>> [(node.name, node.op, list(node.input)) for node in graph.node]
      [('x', 'Input', []), ('y', 'relu', ['x'])]
    """
    from tensorboard.compat.proto import graph_pb2, versions_pb2

    graphs: Any = graph_pb2
    versions: Any = versions_pb2
    unique = {node.name: node for node in nodes}
    kind, _, index = device.partition(":")
    place = f"/device:{kind.upper()}:{index or 0}"
    return graphs.GraphDef(
        node=[_node_def(node, unique, place) for node in unique.values()],
        versions=versions.VersionDef(producer=_PRODUCER),
    )


def _node_def(node: Node, known: dict[str, Node], place: str) -> Any:
    from tensorboard.compat.proto import attr_value_pb2, node_def_pb2, tensor_shape_pb2

    attr: Any = attr_value_pb2
    shape: Any = tensor_shape_pb2
    nodes: Any = node_def_pb2
    shapes = [
        shape.TensorShapeProto(dim=[shape.TensorShapeProto.Dim(size=size) for size in sizes])
        for sizes in node.shapes
    ]
    attributes = {}
    if shapes:  # by these TensorBoard says what flows along an edge
        values = attr.AttrValue.ListValue(shape=shapes)
        attributes["_output_shapes"] = attr.AttrValue(list=values)
    for name, text in (("dtype", node.dtype), ("arguments", node.note)):
        if text:
            attributes[name] = attr.AttrValue(s=text.encode())
    return nodes.NodeDef(
        name=node.name,
        op=node.op,
        input=[name for name in node.inputs if name in known],
        device=place,
        attr=attributes,
    )

"""TensorBoard's messages, under the names used here.

protobuf makes their classes while the modules are imported, out of a type checker's sight; hence
`Any`, in this one place.
"""

from __future__ import annotations

from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2

_event: Any = event_pb2
_summary: Any = summary_pb2
_tensor: Any = tensor_pb2
_types: Any = types_pb2

Event = _event.Event
SessionLog = _event.SessionLog
Summary = _summary.Summary
SummaryMetadata = _summary.SummaryMetadata
HistogramProto = _summary.HistogramProto
TensorProto = _tensor.TensorProto
DT_STRING = _types.DT_STRING
DT_FLOAT = _types.DT_FLOAT

"""The graph, the values and the text of a run, as TensorBoard's own reader and plugin find them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

import dovetail
from dovetail import layers
from dovetail.run import provenance, run_description
from dovetail.run.event_files import event_files, read_events
from dovetail.run.summaries import SummaryWriter

BATCH = torch.ones(4, 2), torch.ones(4, 1)


def model_fn(features, labels, mode, params):
    output = layers.fully_connected(features, 1, activation_fn=torch.tanh)
    loss = torch.mean((output - labels) ** 2)
    train_op = dovetail.optimizers.SGD(params.lr).minimize(loss)
    return dovetail.EstimatorSpec(mode, output, loss, train_op)


@pytest.fixture(scope="module")
def program():
    return dovetail.build(model_fn, params={"lr": 0.5}, example=BATCH, device="cpu")


def described(folder, program, params, origins=None, step=0):
    """A run with a record and a few points."""
    values = {"batch_size": 8, "runconfig.seed": 3, "runconfig.prefetch": 2, "epochs": None}
    provenance.record(
        folder,
        params=params,
        origins=origins or {},
        files=[],
        command=[],
        seed=3,
        extra={"values": values},
    )
    with SummaryWriter(folder, start_step=step) as writer:
        run_description.describe(writer, program, *BATCH)
        writer.scalars({"loss": 0.25}, step + 1)
        run_description.ended(writer, step + 1, failed=params["lr"] > 1)
    with SummaryWriter(folder / "eval", replace_step=step + 1) as writer:
        writer.scalars({"accuracy": params["lr"]}, step + 1)


def test_tensorboard_reads_the_graph(tmp_path, program):
    described(tmp_path, program, {"lr": 0.5})
    events = EventAccumulator(str(tmp_path)).Reload()
    graph = events.Graph()
    nodes = {node.name: node for node in graph.node}
    assert list(nodes["fully_connected/linear"].input) == [
        "features",
        "fully_connected/weight",
        "fully_connected/bias",
    ]
    shape = nodes["fully_connected/linear"].attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [4, 1]
    assert nodes["fully_connected/linear"].device == "/device:CPU:0"
    assert len(nodes) == len(graph.node)
    assert all(source in nodes for node in graph.node for source in node.input)


def test_the_hparams_tab_compares_runs_by_params_and_metrics(tmp_path, program):
    described(tmp_path / "one", program, {"lr": 0.5, "name": "small", "layers": [3, 4]})
    described(tmp_path / "two", program, {"lr": 2.0, "name": "large", "deep": True})
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = Context(TBContext(data_provider=provider))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, metadata, [])
    kinds = {info.name: info.type for info in experiment.hparam_infos}
    assert kinds == {
        "lr": api_pb2.DATA_TYPE_FLOAT64,
        "name": api_pb2.DATA_TYPE_STRING,
        "layers": api_pb2.DATA_TYPE_STRING,
        "deep": api_pb2.DATA_TYPE_BOOL,
        "batch_size": api_pb2.DATA_TYPE_FLOAT64,
        "runconfig.seed": api_pb2.DATA_TYPE_FLOAT64,
    }
    metrics = {(info.name.group, info.name.tag) for info in experiment.metric_infos}
    assert metrics == {("", "loss"), ("eval", "accuracy")}
    asked = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
        start_index=0,
        slice_size=10,
        include_metrics=True,
    )
    handler = list_session_groups.Handler(request, context, "", asked)
    groups = {group.sessions[0].name: group for group in handler.run().session_groups}
    assert groups.keys() == {"one", "two"}
    assert groups["one"].hparams["lr"].number_value == 0.5
    assert groups["one"].hparams["layers"].string_value == "[3, 4]"
    assert groups["two"].hparams["deep"].bool_value is True
    values = {v.name.tag: v.value for v in groups["two"].metric_values}
    assert values == {"loss": 0.25, "accuracy": 2.0}
    assert groups["one"].sessions[0].status == api_pb2.STATUS_SUCCESS
    assert groups["two"].sessions[0].status == api_pb2.STATUS_FAILURE


def test_the_values_are_text_with_where_each_came_from(tmp_path, program):
    described(tmp_path, program, {"lr": 0.5, "text": "a|b\nc"}, {"params.lr": "command line"})
    events = EventAccumulator(str(tmp_path)).Reload()
    (tensor,) = events.Tensors("values")
    text = tensor.tensor_proto.string_val[0].decode()
    assert "| lr | 0.5 | command line |" in text
    assert "| text | a\\|b c |  |" in text
    assert "| runconfig.prefetch | 2 |  |" in text


def test_a_resumed_run_writes_neither_again(tmp_path, program):
    described(tmp_path, program, {"lr": 0.5})
    described(tmp_path, program, {"lr": 0.25}, step=1)
    events = [event for path in event_files(tmp_path) for _, _, event in read_events(path)]
    assert len(event_files(tmp_path)) == 2
    assert sum(event.HasField("graph_def") for event in events) == 1
    tags = [value.tag for event in events for value in event.summary.value]
    assert tags.count("_hparams_/session_start_info") == 1
    assert tags.count("values") == 1


def test_a_run_that_starts_again_from_nothing_keeps_the_first(tmp_path, program):
    described(tmp_path, program, {"lr": 0.5})
    described(tmp_path, program, {"lr": 0.5}, step=0)
    assert run_description.written_already(tmp_path)
    events = [event for path in event_files(tmp_path) for _, _, event in read_events(path)]
    assert sum(event.HasField("graph_def") for event in events) == 1


def test_without_a_record_the_program_s_params_are_the_values(tmp_path, program):
    with SummaryWriter(tmp_path, start_step=0) as writer:
        run_description.describe(writer, program, np.ones((4, 2), np.float32), BATCH[1])
    events = EventAccumulator(str(tmp_path)).Reload()
    (tensor,) = events.Tensors("values")
    assert "| lr | 0.5 |" in tensor.tensor_proto.string_val[0].decode()

"""A run's values as TensorBoard's HPARAMS tab reads them.

Only the session is written, its beginning and its end. An experiment, which would say which
values and metrics there are, is not: where one run has one, TensorBoard takes it for all runs and
hides what only the others have. Without, it takes the values and curves of all runs together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from dovetail.run.event_protos import DT_FLOAT, Summary, SummaryMetadata, TensorProto

START_TAG = "_hparams_/session_start_info"
END_TAG = "_hparams_/session_end_info"


def session_start(values: Mapping[str, object], began: float) -> Any:
    """Return the summary value that begins a session.

    Args:
      values: dotted name -> number, text or bool; lists become JSON text, and None is left out.
      began: seconds since 1970.

    Example:
      >>> session_start({"optimizer.lr": 0.1, "layers": [3, 4]}, 0.0).tag
      '_hparams_/session_start_info'
    """
    plugin = _messages()
    info = plugin.SessionStartInfo(start_time_secs=began)
    for name, value in values.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, (int, float)):
            info.hparams[name].number_value = value
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            info.hparams[name].string_value = text
    return _value(START_TAG, plugin.HParamsPluginData(session_start_info=info))


def session_end(how: Literal["success", "failure"], ended: float) -> Any:
    """Return the summary value that ends a session.

    Args:
      how: it ended.
      ended: seconds since 1970.
    """
    from tensorboard.plugins.hparams import api_pb2

    kinds: Any = api_pb2
    status = kinds.STATUS_SUCCESS if how == "success" else kinds.STATUS_FAILURE
    plugin = _messages()
    info = plugin.SessionEndInfo(status=status, end_time_secs=ended)
    return _value(END_TAG, plugin.HParamsPluginData(session_end_info=info))


def _messages() -> Any:
    from tensorboard.plugins.hparams import plugin_data_pb2

    return plugin_data_pb2


def _value(tag: str, content: Any) -> Any:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    # All of it is in the metadata; TensorBoard wants some tensor too.
    nothing = TensorProto(dtype=DT_FLOAT, tensor_shape={"dim": [{"size": 0}]})
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=nothing)

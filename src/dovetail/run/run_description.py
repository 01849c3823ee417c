"""What a run writes to its event log once, at its beginning: its graph and its values."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from dovetail.definition.definition import RUN_KEYS
from dovetail.program.program import Program
from dovetail.run import provenance
from dovetail.run.event_files import event_files, read_events
from dovetail.run.event_graph import graph_def
from dovetail.run.event_hparams import START_TAG, session_end, session_start
from dovetail.run.graph_trace import graph_of
from dovetail.run.resolve import leaves
from dovetail.run.summaries import SummaryWriter

VALUES_TAG = "values"
_COMPARED = (
    "batch_size",
    "max_steps",
    "epochs",
    "train_epochs",
    "runconfig.seed",
    "runconfig.precision",
    "runconfig.parts",
    "runconfig.ema_decay",
    "runconfig.freeze",
    "runconfig.warm_start_from",
)
"""What a run's result depends on beside the definition's params: runs are compared by both."""
_LOOKED_AT = 50
"""How many events at a file's beginning are looked at for what is there already."""


def describe(writer: SummaryWriter, program: Program, features: Any, labels: Any = None) -> None:
    """Write the model's graph, and the run's values for the HPARAMS and TEXT tabs, once.

    A model_dir that has them gets neither again, so it may be called whenever a run begins or
    goes on. The values are those of the newest record in `provenance/`, with where each came
    from; where there is none, the program's params.

    In a training loop, after the program is built and restored, the record is written and the
    writer is open:

        run_description.describe(writer, program, *cut(fed.features, fed.labels, config.parts)[0])

    and where it ends, so that TensorBoard shows how:

        run_description.ended(writer, step)                  # done, or ended by a signal
        run_description.ended(writer, step, failed=True)     # when an error goes on

    Args:
      writer: of the model_dir.
      program: built in TRAIN mode.
      features, labels: a batch, or a part of one, on which a forward pass is made.
    """
    if not written_already(writer.folder):
        nodes = graph_of(program, features, labels)
        writer.graph(graph_def(nodes, str(program.device)))
        values, origins = _values(writer.folder, program)
        chosen = {n: v for n, v in values.items() if v not in (None, []) and _is_compared(n)}
        writer.values([session_start(chosen, time.time())], 0)
        writer.text(VALUES_TAG, as_table(values, origins), 0)


def ended(writer: SummaryWriter, step: int, *, failed: bool = False) -> None:
    """Write that the run ended, for the HPARAMS tab."""
    writer.values([session_end("failure" if failed else "success", time.time())], step)


def written_already(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder's event files begin with a run's values."""
    for path in event_files(folder):
        for number, (_, _, event) in enumerate(read_events(path)):
            if any(value.tag == START_TAG for value in event.summary.value):
                return True
            if number > _LOOKED_AT:
                break
    return False


def as_table(values: Mapping[str, object], origins: Mapping[str, str]) -> str:
    """Return values as a table of Markdown.

    >>> print(as_table({"width": 3}, {"params.width": "command line"}))
    | name | value | from |
    |---|---|---|
    | width | 3 | command line |
    """
    rows = ["| name | value | from |", "|---|---|---|"]
    for name, value in values.items():
        origin = origins.get(f"params.{name}", origins.get(name, ""))
        rows.append(f"| {_cell(name)} | {_cell(value)} | {_cell(origin)} |")
    return "\n".join(rows)


def _is_compared(name: str) -> bool:
    section = name.partition(".")[0]
    return name in _COMPARED or section not in (*RUN_KEYS, "eval_batch_size")


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _values(
    folder: str | os.PathLike[str], program: Program
) -> tuple[dict[str, object], dict[str, str]]:
    """Return a run's values by dotted name, and where each came from."""
    records = provenance.read(folder)
    if not records:
        return dict(leaves(provenance.plain(program.params))), {}
    newest = records[-1]
    values = dict(leaves(newest.get("params") or {}))
    values.update((newest.get("extra") or {}).get("values") or {})
    return values, newest.get("origins") or {}

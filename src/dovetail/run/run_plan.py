"""What has to be run to come again to where a run ended: one leg, or several.

A run that was interrupted and resumed has a record for each call. Where they are of one kind, they
are one undisturbed run; where something was changed between them (other data, code or settings, or
an epoch that had ended in a short batch), each is a leg, which goes on from the one before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.errors import DovetailError
from dovetail.run import checkpoint, provenance

_SAME = ("definition", "run")


@dataclass(frozen=True)
class Leg:
    """A part of a run that was done with one definition, data and settings.

    Attributes:
      record: of the call of train that ended it.
      begin, end: its steps.
    """

    record: Mapping[str, Any]
    begin: int
    end: int

    @property
    def number(self) -> int:
        """Of its record."""
        return self.record["number"]


def plan(model_dir: str | os.PathLike[str], run: int | None = None) -> list[Leg]:
    """Say which legs lead to where a run ended.

    Args:
      model_dir: of the run.
      run: the number of its record; None: the last.

    Raises:
      DovetailError: there is no such record, or it does not hold what is needed.
    """
    records = provenance.read(model_dir)
    if not records:
        raise DovetailError(
            f"There is no record of a run in {Path(model_dir) / provenance.FOLDER}: give the "
            "model_dir of a run that was trained."
        )
    known = [record["number"] for record in records]
    whole = [record["number"] for record in records if _has_stands(record)]
    number = (whole or known)[-1] if run is None else run
    if number not in known:
        raise DovetailError(
            f"{model_dir} has no record of a run {number}; it has {', '.join(map(str, known))}."
        )
    line = _line([record for record in records if record["number"] <= number], model_dir)
    last = line[-1]
    end = _end(last, [r for r in records if r["number"] > number], model_dir)
    ends = [_stands(record)["step"] for record in line[1:]] + [end]
    legs: list[Leg] = []
    for record, end in zip(line, ends, strict=True):
        begin = _stands(record)["step"]
        if legs and _one_run(legs[-1].record, record):
            begin = legs.pop().begin
        legs.append(Leg(record, begin, end))
    return legs


def _line(records: Sequence[Mapping[str, Any]], model_dir: Any) -> list[Mapping[str, Any]]:
    """Return the records that lead from step 0 to the last, without those that were undone."""
    # What came to its determinism was written by a Dovetail that adds the fingerprint before the
    # first step: such a run was killed before it.
    last = records[-1]["number"]
    records = [
        r for r in records if _has_stands(r) or "determinism" not in r or r["number"] == last
    ]
    for record in records:
        if not _has_stands(record):
            raise DovetailError(
                f"The record of run {record['number']} in {model_dir} has no fingerprint.json: it "
                "was written by an earlier Dovetail, or was killed before its first step, so what "
                "it was made of is not known well enough to run it again."
            )
    line = [records[-1]]
    for record in reversed(records[:-1]):
        # One that began no earlier was gone back behind: its steps were lost, or it took none.
        if _stands(record)["step"] < _stands(line[-1])["step"]:
            line.append(record)
    if begins := _stands(line[-1])["step"]:
        raise DovetailError(
            f"The oldest record in {model_dir} begins at step {begins}: what was "
            "done before is not recorded here, so it can't be run again."
        )
    return line[::-1]


def _end(last: Mapping[str, Any], later: Sequence[Mapping[str, Any]], model_dir: Any) -> int:
    """Return the step that a record's run came to, as far as that was kept."""
    begin = _stands(last)["step"]
    ended = last.get("ended", {})
    if "tensors" in ended and ended["step"] > begin:  # else an error ended it, unsaved
        return int(ended["step"])
    went_on = [_stands(record)["step"] for record in later if _has_stands(record)]
    if went_on:
        end = int(went_on[0])
    else:
        newest = checkpoint.latest(model_dir)
        end = int(newest.name) if newest is not None else 0
    if end <= begin:
        raise DovetailError(
            f"Run {last['number']} of {model_dir} was ended before it saved anything beyond step "
            f"{begin}, so there is nothing to reproduce. Name another with --run."
        )
    return end


def _one_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records, the second going on from the first, are of one undisturbed run."""
    first, second = one["fingerprint"], other["fingerprint"]
    if any(first[section] != second[section] for section in _SAME):
        return False
    data, more = ({**f["data"], "total": None, "path": None} for f in (first, second))
    if data != more or data["kind"] != "records":
        return False
    # A short batch between them, where an epoch had been the last, is none of an undisturbed run.
    begun, went_on = first["from"], second["from"]
    examples = went_on["position"] - begun["position"]
    return examples == (went_on["step"] - begun["step"]) * data["batch_size"]


def _has_stands(record: Mapping[str, Any]) -> bool:
    return "from" in record.get("fingerprint", {})


def _stands(record: Mapping[str, Any]) -> Mapping[str, int]:
    return record["fingerprint"]["from"]

"""What a run is made of, as plain values, and how two differ: one readable line for each."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dovetail.definition.definition import RUN_KEYS, Definition
from dovetail.definition.modes import ModeKeys
from dovetail.program.program import Program
from dovetail.run import hardware, provenance
from dovetail.run.code_digest import code_of, described
from dovetail.run.config import RunConfig
from dovetail.run.inputs import Input
from dovetail.run.resolve import leaves

Kind = Literal["note", "error"]

_SECTIONS = ("definition", "data", "run", "versions", "machine")
_RUN = ("seed", "parts", "precision", "execution", "deterministic")
_TRAINING = ("loss_scale", "ema_decay", "freeze", "recompute")
_IGNORED = ("data.path", "data.total", "data.schema", "machine.host")


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was.

    Attributes:
      kind: "error" where a checkpoint can't be gone on from, else "note".
      name: what differs.
      then, now: its values, as text.
      means: what follows from it.
    """

    kind: Kind
    name: str
    then: str
    now: str
    means: str

    def __str__(self) -> str:
        return f"{self.name} was {self.then} and is {self.now}: {self.means}."


def take(program: Program, source: Input, config: RunConfig) -> dict[str, Any]:
    """Take the fingerprint of a run that is about to begin, or go on.

    Args:
      program: built.
      source: its input, once the first batch is drawn.
      config: how the run is done.

    Returns:
      definition, data, run, versions and machine, as JSON holds them.
    """
    definition = program.definition
    params = {
        name: value
        for name, value in leaves(provenance.plain(program.params))
        if name.partition(".")[0] not in RUN_KEYS
    }
    train_ops = program.statics(ModeKeys.TRAIN).train_ops
    taken = {
        "definition": {
            "name": definition.name,
            "way": definition.way,
            "loaded_from": _loaded_from(definition),
            "code": code_of(definition, [getattr(source, "function", None)]),
            "params": params,
            "parameters": _parameters(program),
            "optimizers": {name: described(op.optimizer) for name, op in train_ops.items()},
        },
        "data": {"name": source.name, **source.data()},
        "run": {
            **{name: getattr(config, name) for name in _RUN},
            **{name: getattr(config, name) for name in _TRAINING if getattr(config, name)},
            "device": program.device.type,
        },
        "versions": provenance.versions(),
        "machine": hardware.brief(),
    }
    return provenance.finite(provenance.plain(taken))


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say how two fingerprints differ, errors first, one line for each difference.

    >>> compare({"run": {"seed": 1}}, {"run": {"seed": 2}})
    ['seed was 1 and is 2: the order of examples and all randomness are those of another run.']
    """
    return [str(difference) for difference in differing(then, now)]


def differences(
    model_dir: str | os.PathLike[str],
    now: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
) -> list[str]:
    """Say how a run that goes on differs from what it was.

    Args:
      model_dir: of the run, whose newest record counts where `state` has no fingerprint.
      now: what `take` gives.
      state: of the checkpoint that is gone on from.
    """
    then = (state or {}).get("fingerprint")
    newest = provenance.newest(model_dir) if then is None else None
    if newest is not None:  # one file, however many calls of train there were
        then = provenance.added(newest, "fingerprint")
    return [] if then is None else compare(then, now)


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Give the differences of two fingerprints, errors first."""
    found = list(_differing(_flat(then), _flat(now)))
    return sorted(found, key=lambda difference: difference.kind != "error")


def _differing(then: dict[str, Any], now: dict[str, Any]) -> Iterator[Difference]:
    other_data = then.get("data.fingerprint") != now.get("data.fingerprint")
    if other_data:
        means = "the run goes on with these examples, its position counted as before"
        yield Difference("note", "the data", _records(then), _records(now), means)
    told = set()
    for key in dict.fromkeys((*then, *now)):
        was, is_ = then.get(key), now.get(key)
        section, _, name = key.partition(".")
        if was == is_ or key.startswith(_IGNORED):
            continue
        if section == "data" and (name == "name" or (other_data and name != "batch_size")):
            continue
        if key.startswith("definition.parameters."):
            if "parameters" not in told:
                told.add("parameters")
                yield Difference(
                    "error",
                    "the set of parameters",
                    _sizes(then),
                    _sizes(now),
                    _MEANS["parameters"],
                )
            continue
        yield Difference("note", *_said(section, name, was, is_))


def _said(section: str, name: str, was: Any, is_: Any) -> tuple[str, str, str, str]:
    """Return the name, both values and the meaning of one difference."""
    if name.startswith("code."):
        file = name.removeprefix("code.")
        return file, _sum(was), _sum(is_), _MEANS["code"]
    if name.startswith("optimizers."):
        return (
            f"the {name.removeprefix('optimizers.')}",
            _text(was),
            _text(is_),
            _MEANS["optimizer"],
        )
    if section == "definition" and name.startswith("params."):
        return name, _text(was), _text(is_), "it holds from here on"
    if section == "definition":
        return f"the definition's {name}", _text(was), _text(is_), "see to it that it is the same"
    if section == "versions":
        return f"the version of {name}", _text(was), _text(is_), _MEANS["versions"]
    if section == "machine":
        return f"the machine's {name}", _text(was), _text(is_), _MEANS["versions"]
    label = name if section == "run" or name == "batch_size" else f"the data's {name}"
    return label, _text(was), _text(is_), _MEANS.get(name, "it holds from here on")


_NOT_BITS = "what follows is the same up to rounding, not bit for bit"
_MEANS = {
    "parameters": "a checkpoint of the one can't be gone on from with the other",
    "code": "the changed code holds from here on",
    "optimizer": "it goes on with the state of the one before",
    "versions": _NOT_BITS,
    "seed": "the order of examples and all randomness are those of another run",
    "batch_size": "steps take so many examples from here on; the position stays what it was",
    "parts": _NOT_BITS,
    "precision": "what follows is computed in another precision",
    "execution": _NOT_BITS,
    "device": _NOT_BITS,
    "deterministic": _NOT_BITS,
}


def _loaded_from(definition: Definition) -> str:
    """Say whether a definition's file can be loaded again by its path."""
    in_a_file = (definition.fresh.__module__ or "").endswith("model_file")
    return "file" if in_a_file and definition.path is not None else "object"


def _flat(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    flat = leaves({name: fingerprint.get(name, {}) for name in _SECTIONS})
    return {name: value for name, value in flat if value not in ({}, None)}


def _records(flat: Mapping[str, Any]) -> str:
    if "data.fingerprint" not in flat:
        return _text(flat.get("data.name"))
    rows, path = flat.get("data.rows"), flat.get("data.path")
    return f"{rows:,} rows of {path} ({_sum(flat['data.fingerprint'])})"


def _sizes(flat: Mapping[str, Any]) -> str:
    tensors = flat.get("definition.parameters.tensors", 0)
    numbers = flat.get("definition.parameters.numbers", 0)
    said = _sum(flat.get("definition.parameters.names_and_shapes"))
    return f"{tensors:,} tensors of {numbers:,} numbers ({said})"


def _sum(value: Any) -> str:
    return "not there" if value is None else str(value)[:8]


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _parameters(program: Program) -> dict[str, Any]:
    shapes = [(name, list(t.shape), str(t.dtype)) for name, t in program.state().items()]
    return {
        "tensors": len(shapes),
        "numbers": sum(math.prod(shape) for _, shape, _ in shapes),
        "names_and_shapes": hashlib.sha256(repr(sorted(shapes)).encode()).hexdigest(),
    }

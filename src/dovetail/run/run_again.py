"""A part of a recorded run, done again from its record: files, params, settings and data."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dovetail.data.records import Records
from dovetail.definition.definition import Definition, load
from dovetail.errors import DovetailError, ParamsError
from dovetail.run import provenance
from dovetail.run.config import FIELDS, RunConfig
from dovetail.run.estimator import Estimator
from dovetail.run.record_input import RecordInput
from dovetail.run.resolve import leaves, resolve
from dovetail.run.run_plan import Leg
from dovetail.run.warm_start import WarmStart

FILES = "definition"


def check(
    leg: Leg,
    model_dir: Path,
    data: str | os.PathLike[str] | None,
    *,
    definition_given: bool = False,
    input_given: bool = False,
) -> None:
    """Refuse a leg that can't be done again, before anything is done.

    Args:
      leg, model_dir, data: as `run_again` takes them.
      definition_given, input_given: whether the caller has these, so that the record need not.

    Raises:
      DovetailError: only a script can make the definition or the data, a recorded file was
        changed, or the data is not what it was; it says what can be done.
    """
    fingerprint = leg.record["fingerprint"]
    missing = []
    if not definition_given and fingerprint["definition"].get("loaded_from") != "file":
        missing.append("its model was given as a Python object")
    records = fingerprint["data"].get("kind") == "records"
    if not input_given and (not records or "sources" in leg.record.get("data", {})):
        missing.append(f"its data ({leg.record['extra'].get('data')}) was made by Python code")
    if missing:
        command = shlex.join(leg.record["command"]) or "its script"
        raise DovetailError(
            f"Run {leg.number} of {model_dir} can't be run again from its record alone: "
            f"{' and '.join(missing)}. Run `{command}` again with another model_dir (what it was "
            f"is in {_folder(leg, model_dir)}), then compare the two: dovetail reproduce "
            f"{model_dir} --compare OTHER_MODEL_DIR. In Python, dovetail.run.reproduce.reproduce "
            "takes the definition and the input_fn."
        )
    if not definition_given:
        _copies(leg, model_dir)
    if not input_given:
        _records_again(fingerprint["data"], data)


def run_again(
    leg: Leg,
    model_dir: Path,
    output: Path,
    data: str | os.PathLike[str] | None,
    definition: Any,
    input_fn: Any,
) -> None:
    """Do a leg of a recorded run again, going on from the leg before.

    Args:
      leg: what to do.
      model_dir: of the recorded run.
      output: the model_dir of the new one; the definition's files are laid out in `definition/`.
      data: where the records are now; None: where they were.
      definition, input_fn: in the place of the recorded ones; None: those.

    Raises:
      DovetailError: a recorded file was changed, or the data is not what it was.
      ParamsError: a param or a setting was an object that can't be made from its name.
    """
    record = leg.record
    values = record["extra"]["values"]
    recorded = record["fingerprint"]["data"]
    with contextlib.ExitStack() as stack:
        if definition is None:
            file = _laid_out(_copies(leg, model_dir), output / FILES / str(leg.number))
            stack.enter_context(_importable(file.parent))
            definition = load(file)
        else:
            definition = load(definition)
        definition = definition.with_params(given_params(definition, record["params"]))
        resolved = resolve(
            definition,
            config=_config(values, output),
            flags={"batch_size": values["batch_size"]},
        )
        resolved = replace(resolved, eval_batch_size=values["eval_batch_size"])
        if input_fn is None:
            input_fn = _records_again(recorded, data)
        total, limit = recorded.get("total"), recorded.get("limit")
        Estimator.from_resolved(resolved).train_run(
            input_fn,
            max_steps=leg.end,
            epochs=None if total is None else total / recorded["rows"],
            limit=limit,
            command=[*sys.argv],
        )


def _folder(leg: Leg, model_dir: Path) -> Path:
    return model_dir / provenance.FOLDER / f"{leg.number:04d}"


def _copies(leg: Leg, model_dir: Path) -> dict[Path, bytes]:
    """Return the definition's files, its own first, by where they were."""
    folder, entries = _folder(leg, model_dir), leg.record["files"]
    code = leg.record["fingerprint"]["definition"]["code"]
    if entries:  # the script that ran is none of them
        home = os.path.dirname(_was(entries[0]))
        entries = [one for one in entries if _relative(_was(one), home) in code]
    missing = [entry["path"] for entry in entries if "copy" not in entry]
    if missing or not entries:
        raise DovetailError(
            f"The record {folder} holds no copy of {', '.join(missing) or 'the definition'}. "
            + " ".join(leg.record.get("notes", []))
        )
    copies = {}
    for entry in entries:
        try:
            content = (folder / entry["copy"]).read_bytes()
        except OSError as error:
            raise DovetailError(f"{folder / entry['copy']}: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise DovetailError(
                f"{folder / entry['copy']} was changed after it was recorded: its SHA-256 is not "
                f"{entry['sha256'][:8]}... any more. Restore it from a copy of the model_dir."
            )
        copies[Path(_was(entry))] = content
    return copies


def _was(entry: Mapping[str, Any]) -> str:
    return entry.get("target", entry["path"])


def _relative(path: str, home: str) -> str:
    return Path(os.path.relpath(path, home)).as_posix()


def _laid_out(copies: Mapping[Path, bytes], output: Path) -> Path:
    """Write files as they lay beside each other, and return the place of the first."""
    root = Path(os.path.commonpath([path.parent for path in copies]))
    for path, content in copies.items():
        place = output / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return output / next(iter(copies)).relative_to(root)


def given_params(definition: Definition, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return those recorded params that are not the definition's own, nested as they were.

    Raises:
      ParamsError: one was a function or another object, which the record only names.
    """
    own = dict(leaves(provenance.plain(definition.params)))
    given: dict[str, Any] = {}
    for name, value in leaves(recorded):
        if name in own and own[name] == value:
            continue
        if isinstance(value, str) and (" at 0x" in value or _names_an_object(value, own.get(name))):
            raise ParamsError(
                f"params.{name} was {value}, which can't be made from its name. Run it again from "
                "Python, where it can be given."
            )
        *sections, last = name.split(".")
        place = given
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return given


def _names_an_object(text: str, own: Any) -> bool:
    module, colon, name = text.partition(":")
    return (
        bool(colon)
        and isinstance(own, str)
        and ":" in own
        and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
    )


def _config(values: Mapping[str, Any], output: Path) -> RunConfig:
    named = {key.removeprefix("runconfig."): v for key, v in values.items() if "runconfig." in key}
    stated = {name: value for name, value in named.items() if name in FIELDS}
    if isinstance(start := stated.get("warm_start_from"), Mapping):
        stated["warm_start_from"] = WarmStart(**start)
    # No evaluation is run beside it, by which a best could be found.
    return RunConfig(**{**stated, "model_dir": str(output), "keep_checkpoint_best": 0})


def _records_again(recorded: Mapping[str, Any], data: str | os.PathLike[str] | None) -> str:
    """Return the path of the records, having found them to be those that were recorded."""
    path = os.fspath(data) if data is not None else recorded["path"]
    if not Path(path).exists():
        raise DovetailError(
            f"The records {path} are not there. If they were moved, say where to with --data DIR."
        )
    again = RecordInput(
        Records(path), batch_size=recorded["batch_size"], limit=recorded.get("limit")
    )
    found = again.data()
    if found["fingerprint"] != recorded["fingerprint"]:
        raise DovetailError(
            f"The records {path} are not those of the run: {found['rows']:,} rows with the "
            f"fingerprint {found['fingerprint'][:8]}..., where the run had {recorded['rows']:,} "
            f"with {recorded['fingerprint'][:8]}.... Name the same ones with --data DIR."
        )
    return path


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the definition import what lies beside it, inside its functions too."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder.resolve()))

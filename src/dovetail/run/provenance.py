"""The record of a run: what was run, from which files and values, with which versions.

Each run of a model_dir gets a numbered folder under `provenance/`, which is never written again:

    provenance/0001/run.json      when, command, seed, versions, git commit, where values came from
    provenance/0001/params.yaml   the resolved parameters
    provenance/0001/files/        copies of the definition's files and of the script that ran
    provenance/0001/fingerprint.json   what the run is made of, to compare it with (fingerprint.py)
    provenance/0001/data.json     the data's manifest with checksums
    provenance/0001/ended.json    how the run ended, with the sums of its parameters

Nothing of the environment's variables is recorded, and what can't be read (a file without
permission, a folder that no git knows) is a note in the record and never stops the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dovetail.errors import DovetailError
from dovetail.run import hardware
from dovetail.run.git_state import git_state
from dovetail.run.plain_values import finite, plain

__all__ = [
    "ADDED",
    "FOLDER",
    "add",
    "added",
    "finite",
    "newest",
    "plain",
    "read",
    "record",
    "versions",
]

FOLDER = "provenance"
ADDED = ("fingerprint", "data", "ended")
# A definition is text; what is larger than this is some other file, and its checksum is enough.
LARGEST_COPY = 16 * 2**20
_PACKAGES = (
    "dovetail",
    "torch",
    "numpy",
    "pyarrow",
    "pillow",
    "safetensors",
    "tensorboard",
    "torchmetrics",
    "keras",
)


def record(
    model_dir: str | os.PathLike[str],
    *,
    params: Mapping[str, object],
    origins: Mapping[str, str],
    files: Sequence[str | os.PathLike[str]],
    command: Sequence[str],
    seed: int,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write the record of the run that begins now.

    Args:
      model_dir: the run's folder; made if it is not there.
      params: the resolved parameters.
      origins: dotted parameter name -> where its value came from ("command line", a file, ...).
      files: the definition's files, its own file first, and the script that ran.
      command: the command line, as in sys.argv.
      seed: the run's seed.
      extra: anything else that belongs to the record (device, precision, number of parts, ...).

    Returns:
      The folder made, `model_dir/provenance/<number>`.

    Raises:
      DovetailError: nothing can be written to model_dir.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = record(folder, params={"width": 3}, origins={"width": "command line"},
    ...                   files=[], command=["train.py"], seed=0)
    ...     made.name, (made / "params.yaml").read_text()
    ('0001', 'width: 3\\n')
    """
    import yaml

    notes: list[str] = []
    try:
        folder = _numbered(Path(model_dir) / FOLDER)
        sources = _unique(files)
        state = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": [str(word) for word in command],
            "working_directory": _working_directory(),
            "seed": seed,
            "params": plain(params),
            "origins": dict(origins),
            "files": _copies(sources, folder / "files", notes),
            "git": git_state(sources, notes),
            "versions": versions(),
            "machine": hardware.machine(),
            "determinism": hardware.determinism(),
            "extra": plain(extra or {}),
            "notes": notes,
        }
        text = yaml.safe_dump(plain(params), sort_keys=False, allow_unicode=True)
        _write(folder / "params.yaml", text)
        # Last, and renamed: a folder with a run.json is a whole record.
        _write(folder / "run.json", json.dumps(finite(state), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DovetailError(
            f"Can't write the record of this run to {Path(model_dir) / FOLDER}: {error}. "
            "Check the permissions and the disk, or name another model_dir."
        ) from error
    return folder


def newest(model_dir: str | os.PathLike[str]) -> Path | None:
    """Return the folder of the newest whole record, or None.

    >>> newest("no-such-folder") is None
    True
    """
    whole = [path.parent for path in Path(model_dir, FOLDER).glob("*/run.json")]
    return max((p for p in whole if p.name.isdigit()), key=lambda p: int(p.name), default=None)


def add(folder: str | os.PathLike[str], name: str, content: Mapping[str, object]) -> Path:
    """Add what is known later to a record: its fingerprint, its data, how it ended.

    Args:
      folder: of the record.
      name: of `ADDED`; each is written once.
      content: plain values.

    Raises:
      DovetailError: it is there already, or can't be written.
    """
    assert name in ADDED, name
    path = Path(folder) / f"{name}.json"
    if path.exists():
        raise DovetailError(f"{path} is there already: the record of a run is written once.")
    try:
        text = json.dumps(finite(plain(content)), indent=2, ensure_ascii=False)
        _write(path, text + "\n")
    except OSError as error:
        raise DovetailError(
            f"Can't write {path}: {error}. Check the permissions and the disk, or name another "
            "model_dir."
        ) from error
    return path


def added(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what was added to a record under a name, or None."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read(model_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the whole records of a model_dir, the oldest first, each with its "number".

    What was added later is in them under its name.

    >>> read("no-such-folder")
    []
    """
    records = []
    for path in Path(model_dir, FOLDER).glob("*/run.json"):
        if path.parent.name.isdigit():
            state = json.loads(path.read_text(encoding="utf-8"))
            more = {name: added(path.parent, name) for name in ADDED}
            state |= {name: content for name, content in more.items() if content is not None}
            records.append({"number": int(path.parent.name), **state})
    return sorted(records, key=lambda state: state["number"])


def _numbered(parent: Path) -> Path:
    """Make the next numbered folder; two runs at once get two."""
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0) + 1
    while True:
        folder = parent / f"{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _unique(files: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return absolute paths, each file once however many links lead to it."""
    by_target: dict[str, Path] = {}
    for file in files:
        path = Path(os.path.abspath(file))
        by_target.setdefault(os.path.realpath(path), path)
    return list(by_target.values())


def _copies(files: Sequence[Path], folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    entries = []
    taken: set[str] = set()
    for path in files:
        entry: dict[str, Any] = {"path": str(path)}
        if os.path.realpath(path) != str(path):
            entry["target"] = os.path.realpath(path)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                raise OSError("not a regular file")
            if status.st_size > LARGEST_COPY:
                raise OSError(f"{status.st_size} bytes, more than a definition's file holds")
            content = path.read_bytes()
            entry["sha256"] = hashlib.sha256(content).hexdigest()
            name = _free_name(path, taken)
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            entry["copy"] = f"{folder.name}/{name}"
        except OSError as error:
            notes.append(f"{path} was not copied: {error.strerror or error}")
        entries.append(entry)
    return entries


def _free_name(path: Path, taken: set[str]) -> str:
    name, number = path.name, 2
    while name.casefold() in taken:  # some file systems do not tell case apart
        name = f"{path.stem}-{number}{path.suffix}"
        number += 1
    taken.add(name.casefold())
    return name


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)

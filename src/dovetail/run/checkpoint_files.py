"""Directories of files that appear whole or not at all, and show it when they are damaged.

What is written goes to a hidden sibling, is synced to the disk, and is renamed when complete.
`state.json` holds the size and the SHA-256 of every other file, and its own: its first value is
the digest of its bytes with that value replaced by zeros, so no byte of it is left uncovered.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from dovetail.errors import CheckpointError, StorageError

FORMAT = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
LIFTED = ("position", "seed")  # of the caller's state: they stand beside the step in state.json
SAVING, REPLACED, DELETING = ".saving-", ".replaced-", ".deleting-"
_LISTED = re.compile(rf"(?:{re.escape(REPLACED)})?(\d{{10,}})")
_HEAD = b'{"sha256": "'
_ZEROS = b"0" * 64
_CHUNK = 1 << 22


T = TypeVar("T")


class DamagedError(CheckpointError):
    """A file of a checkpoint is missing, cut short, or not what was written."""


def folder_of(model_dir: str | os.PathLike[str]) -> Path:
    """Return the directory of a model_dir's checkpoints."""
    return Path(model_dir) / "checkpoints"


def publish(
    folder: Path,
    name: str,
    fill: Callable[[Path], None],
    *,
    size: int,
    confirm: Callable[[], object] | None = None,
) -> Path:
    """Make the directory `folder/name` from what `fill` writes, all of it or nothing.

    A directory of that name is kept, whole, until the new one is complete and on the disk.

    Args:
      folder: the directory above; made when absent.
      name: of the new directory: the step, ten digits or more.
      fill: is given an empty directory and writes its files there.
      size: about how many bytes it will write; refused before writing where there is no room.
      confirm: called when all is on the disk and before the renaming; it may raise to refuse.

    Returns:
      The path of the new directory.

    Raises:
      OSError: what the file system said; nothing is left behind, and what was there before is.
      StorageError: there is no room.

    Example:

    >>> import pathlib, tempfile
    >>> top = pathlib.Path(tempfile.mkdtemp())
    >>> path = publish(top, "0000000001", lambda p: (p / "a").touch(), size=10)
    >>> path.name, [p.name for p in path.iterdir()]
    ('0000000001', ['a'])
    """
    new_folder = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if new_folder:
        sync(folder.parent)
    settle(folder)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StorageError(
            f"No room for checkpoint {name} in {folder}: it takes {_mega(size)} and "
            f"{_mega(free)} are free. Make room or keep fewer checkpoints (keep_checkpoint_max), "
            "then start the same command again. Checkpoints saved before are untouched."
        )
    saving, final = folder / (SAVING + name), folder / name
    try:
        saving.mkdir()
        fill(saving)
        for file in sorted(saving.iterdir()):
            sync(file)
        sync(saving)
        if confirm is not None:
            confirm()
        # Two renames, for no portable call swaps directories. Between them the old one is still
        # listed (see `listed`) and `settle` puts it back: at any moment one of the two is there.
        replaced = folder / (REPLACED + name)
        if final.exists():
            final.rename(replaced)
        try:
            saving.rename(final)
        except BaseException:
            if replaced.exists():
                replaced.rename(final)
            raise
        sync(folder)
        if replaced.exists():
            delete(replaced)
    except BaseException:
        shutil.rmtree(saving, ignore_errors=True)
        raise
    return final


def settle(folder: Path) -> None:
    """Clear away, or put back, what a killed save or deletion left in `folder`."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((SAVING, DELETING)):
            shutil.rmtree(path)
        elif path.name.startswith(REPLACED):
            original = folder / path.name.removeprefix(REPLACED)
            if original.exists():
                delete(path)
            else:
                path.rename(original)


def delete(path: Path) -> None:
    """Remove a directory such that a kill half-way leaves nothing that looks whole."""
    name = path.name.removeprefix(REPLACED)
    doomed = path.with_name(DELETING + name)
    if doomed.exists():
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)


def listed(folder: Path) -> dict[int, Path]:
    """Return the complete directories in `folder` by step, rising; it changes nothing."""
    try:
        found = sorted(folder.iterdir(), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    steps: dict[int, Path] = {}
    for path in found:  # digits sort behind dots, so a replaced one only fills a gap
        match = _LISTED.fullmatch(path.name)
        if match and path.is_dir():
            steps.setdefault(int(match.group(1)), path)
    return dict(sorted(steps.items()))


def sync(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no fsync for directories; there is nothing to wait for.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)


def measure(path: Path) -> dict[str, object]:
    """Return the size in bytes and the SHA-256 (hex) of a file, as `write_state` records them."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def is_there(path: Path) -> bool:
    """Whether a path is a directory; not being allowed to look is an error, not a no."""
    return _guarded(path, lambda: path.exists() and path.is_dir())


def write_state(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON that holds its own checksum as its first value, `"sha256"`."""
    assert content
    assert "sha256" not in content
    rest = json.dumps(content, allow_nan=False, ensure_ascii=False)[1:].encode()
    blank = _HEAD + _ZEROS + b'", ' + rest + b"\n"
    path.write_bytes(blank.replace(_ZEROS, hashlib.sha256(blank).hexdigest().encode(), 1))


def read_state(path: Path) -> dict[str, object]:
    """Read what `write_state` wrote.

    Raises:
      DamagedError: any byte of it is not as written.
    """
    data = _guarded(path, path.read_bytes)
    start = len(_HEAD)
    digest = data[start : start + 64]
    blank = data[:start] + _ZEROS + data[start + 64 :]
    if not data.startswith(_HEAD) or hashlib.sha256(blank).hexdigest().encode() != digest:
        raise DamagedError(f"{path} is damaged: its checksum does not fit its bytes. {_CURE}")
    return json.loads(data)


def verify(path: Path, expected: Mapping[str, object]) -> None:
    """Compare a file with the size and the checksum recorded of it.

    Raises:
      DamagedError: it is missing, of another length, or of other bytes.
    """
    size = _guarded(path, path.stat).st_size
    if size != expected["bytes"]:
        raise DamagedError(
            f"{path} is damaged: it has {size} bytes, {expected['bytes']} were written. {_CURE}"
        )
    if _guarded(path, lambda: measure(path))["sha256"] != expected["sha256"]:
        raise DamagedError(
            f"{path} is damaged: its bytes do not fit the checksum taken when it was saved. {_CURE}"
        )


_CURE = "Delete this checkpoint's directory, or restore it from a copy; one before it can be used."


def _guarded(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path} is missing. {_CURE}") from None
    except OSError as error:
        # Not damage: going on from an older checkpoint because of it would lose work.
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}. Look at its permissions and at the disk."
        ) from error


def _mega(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

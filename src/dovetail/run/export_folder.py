"""An exporter's folder: whole checkpoints, there in full or not at all, without a second copy.

Files are hard links to the checkpoint's where the file system has them: neither is written again,
so an export takes no room of its own until the checkpoint is deleted.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from dovetail.errors import StorageError
from dovetail.run import checkpoint_files as files
from dovetail.run.saving import step_of


def put(source: Path, folder: Path) -> Path | None:
    """Put a whole checkpoint into an exporter's folder; None where it is no longer there."""
    step = step_of(source)
    there = files.listed(folder).get(step)
    try:
        if there is not None and _same(there / files.STATE, source / files.STATE):
            return there
        content = sorted(path for path in source.iterdir() if path.is_file())
        size = sum(path.stat().st_size for path in content)
        folder.mkdir(parents=True, exist_ok=True)
        linked = source.stat().st_dev == folder.stat().st_dev
        return files.publish(
            folder,
            f"{step:010d}",
            lambda path: _fill(path, content),
            size=0 if linked else size,
        )
    except FileNotFoundError:
        if source.exists():
            raise
        warnings.warn(
            f"The checkpoint {source} was deleted before it was exported to {folder}. Keep more: "
            "raise keep_checkpoint_max.",
            stacklevel=2,
        )
        return None
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"The checkpoint {source} could not be exported to {folder}: {error}. Make room or "
            "mend the disk, then start the same command again. What was exported before is "
            "untouched."
        ) from error


def _same(one: Path, other: Path) -> bool:
    """Whether two checkpoints are one; each holds the checksums of all its files here."""
    return one.exists() and (one.samefile(other) or one.read_bytes() == other.read_bytes())


def _fill(folder: Path, content: Sequence[Path]) -> None:
    for path in content:
        try:
            os.link(path, folder / path.name)  # a checkpoint's files are never written again
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(path, folder / path.name)


def prune(folder: Path, keep: int | None, exported: Path | None) -> None:
    """Delete all but the exports of the `keep` highest steps and the one that was made last."""
    if folder.is_dir():
        files.settle(folder)
    if keep is None:
        return
    surplus = list(files.listed(folder).values())[:-keep]
    for path in surplus:
        if path != exported:
            files.delete(path)

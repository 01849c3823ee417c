"""Which commit a definition's files are at, and whether they differ from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SECONDS = 5.0


def git_state(files: Sequence[Path], notes: list[str]) -> dict[str, Any] | None:
    """Return the commit of the folder of the first file (or of the working directory).

    Args:
      files: absolute paths; the first one's folder, links followed, is asked about.
      notes: a sentence is added where git has no answer.

    Returns:
      `commit`, `branch` (None if detached), and `dirty`: tracked files in the folder are changed,
      or one of files in it is not tracked; None where there is no commit to name.
    """
    try:
        targets = [Path(os.path.realpath(path)) for path in files]
        folder = targets[0].parent if targets else Path.cwd()
        commit = _git(folder, "rev-parse", "HEAD")
        branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
        inside = [str(path) for path in targets if path.is_relative_to(folder)]
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
        if not changed and inside:
            changed = _git(folder, "status", "--porcelain", "--ignored", "--", *inside)
    except FileNotFoundError:
        notes.append("No git commit: there is no git, or no such folder.")
    except subprocess.TimeoutExpired:
        notes.append(f"No git commit: git did not answer within {_SECONDS:g} seconds.")
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        notes.append(f"No git commit: {said[0] if said else error}")
    except OSError as error:
        notes.append(f"No git commit: {error}")
    else:
        return {
            "commit": commit,
            "branch": None if branch == "HEAD" else branch,
            "dirty": bool(changed),
        }
    return None


def _git(folder: Path, *words: str) -> str:
    # Variables such as GIT_DIR (set inside a hook) would name another repository; no locks are
    # taken and no program named by the folder's own configuration is started.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout.strip()

"""Showing a model_dir: its checkpoints, its last run, and where its curves stand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from dovetail.cli.show import number, plural, say, size, table
from dovetail.run import checkpoint, provenance
from dovetail.run.resolve import leaves
from dovetail.run.summaries import read_scalars


def describe(path: Path) -> dict[str, Any]:
    """Return what a model_dir holds, as plain values.

    Raises:
      DovetailError: something in it can't be read.
    """
    saved = checkpoint.listed(path)
    runs = provenance.read(path)
    folders = {"train": path}
    for folder in sorted(path.glob("eval*")):
        if folder.is_dir() and (folder.name == "eval" or folder.name.startswith("eval_")):
            folders[folder.name] = folder
    scalars = {
        name: {
            tag: {"step": points[-1][0], "value": points[-1][1]}
            for tag, points in read_scalars(folder).items()
            if points
        }
        for name, folder in folders.items()
    }
    return {
        "latest_step": int(saved[-1].name) if saved else None,
        "checkpoints": [
            {"step": int(one.name), "path": str(one), "bytes": _bytes(one)} for one in saved
        ],
        "runs": len(runs),
        "last_run": runs[-1] if runs else None,
        "scalars": {name: values for name, values in scalars.items() if values},
    }


def show(path: Path, described: dict[str, Any]) -> None:
    """Print what `describe` returned."""
    latest = described["latest_step"]
    stands = "no checkpoint yet" if latest is None else f"at step {latest}"
    say(f"{path}: {stands}, {plural(described['runs'], 'run')}")
    if described["checkpoints"]:
        say()
        rows = [(one["step"], size(one["bytes"]), one["path"]) for one in described["checkpoints"]]
        table(("step", "size", "checkpoint"), rows, right=["step", "size"])
    if described["last_run"] is not None:
        say()
        _show_run(described["last_run"])
    for name, values in described["scalars"].items():
        say()
        rows = [(tag, last["step"], number(last["value"])) for tag, last in values.items()]
        table((name, "step", "last value"), rows, right=["step", "last value"])


def _show_run(run: dict[str, Any]) -> None:
    git = run.get("git") or {}
    commit = git.get("commit")
    changed = " with changes" if git.get("dirty") else ""
    versions = run.get("versions", {})
    rows = [
        (f"run {run['number']}", run.get("time")),
        ("command", shlex.join(run.get("command") or [])),
        ("seed", run.get("seed")),
        ("definition", ", ".join(file["path"] for file in run.get("files", []))),
        ("git", f"{commit}{changed}" if commit else "none"),
        (
            "versions",
            ", ".join(f"{k} {versions[k]}" for k in ("dovetail", "torch") if k in versions),
        ),
    ]
    rows += [(f"params.{name}", value) for name, value in leaves(run.get("params") or {})]
    table(("", ""), [(name, value) for name, value in rows if value not in (None, "")])


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())

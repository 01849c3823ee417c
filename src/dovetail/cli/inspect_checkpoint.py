"""Showing a checkpoint: its step and its tensors, every byte of it verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dovetail.cli.show import plural, say, shape, size, table
from dovetail.run.checkpoint import load


def describe(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, as plain values.

    Raises:
      CheckpointError: it is damaged, or was written by a newer Dovetail.
    """
    saved = load(path)
    tensors = [
        {
            "name": name,
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "count": tensor.numel(),
        }
        for name, tensor in saved.model.items()
    ]
    return {
        "step": saved.step,
        "state": {name: value for name, value in saved.state.items() if _is_plain(value)},
        "tensors": tensors,
        "values": sum(entry["count"] for entry in tensors),
        "optimizer_values": len(saved.optimizer),
        "files": {file.name: file.stat().st_size for file in sorted(path.iterdir())},
    }


def show(path: Path, described: dict[str, Any]) -> None:
    """Print what `describe` returned."""
    say(f"{path}: checkpoint of step {described['step']}, whole and undamaged")
    for name, value in described["state"].items():
        say(f" {name}: {value}")
    say()
    rows = [
        (entry["name"], entry["dtype"], shape(entry["shape"]), f"{entry['count']:,}")
        for entry in described["tensors"]
    ]
    table(("tensor", "dtype", "shape", "values"), rows, right=["values"])
    say(f" {plural(described['values'], 'value')} in {plural(len(rows), 'tensor')}")
    say(f" optimizer: {plural(described['optimizer_values'], 'value')}")
    for name, count in described["files"].items():
        say(f" {name}: {size(count)}")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))

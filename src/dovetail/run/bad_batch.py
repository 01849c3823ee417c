"""A batch that a step failed on, saved to be looked at: plain safetensors, and JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dovetail.errors import DataError
from dovetail.program.batches import as_tensors

FOLDER = "bad_batches"
_CPU = torch.device("cpu")


def save_batch(model_dir: Path, step: int, features: Any, labels: Any) -> Path:
    """Write a batch to `model_dir/bad_batches/<step>.safetensors`.

    Tensors are named as they are reached: "features/image", "labels", "features/0". What can't be
    a tensor is written as text to the JSON file beside it, which also tells the structure.

    Args:
      model_dir: of the run.
      step: the number of the step, counted from 1.
      features, labels: as the input gave them.

    Returns:
      The file's path.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> path = save_batch(folder, 7, {"x": torch.ones(2, 3)}, None)
      >>> path.relative_to(folder).as_posix(), load_batch(path)[0]["x"].shape
      ('bad_batches/0000000007.safetensors', torch.Size([2, 3]))
    """
    tensors: dict[str, Tensor] = {}
    structure = {
        "step": step,
        "features": _taken(features, "features", tensors),
        "labels": _taken(labels, "labels", tensors),
    }
    path = Path(model_dir) / FOLDER / f"{step:010}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path)
    path.with_suffix(".json").write_text(json.dumps(structure, indent=1, allow_nan=False) + "\n")
    return path


def load_batch(path: str | Path) -> tuple[Any, Any]:
    """Return the features and labels that `save_batch` wrote."""
    tensors = safetensors.torch.load_file(path)
    structure = json.loads(Path(path).with_suffix(".json").read_text())
    return _given(structure["features"], tensors), _given(structure["labels"], tensors)


def _taken(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {"dict": {str(k): _taken(v, f"{name}/{k}", tensors) for k, v in value.items()}}
    numbers = isinstance(value, (list, tuple)) and not any(
        isinstance(item, (Tensor, Mapping, list, tuple)) or hasattr(item, "__array__")
        for item in value
    )
    if isinstance(value, (list, tuple)) and not numbers:
        return {"list": [_taken(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    try:
        tensors[name] = as_tensors(value, _CPU, name).detach().clone().contiguous()
    except DataError:
        return {"text": repr(value)}
    return {"tensor": name}


def _given(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    if structure is None:
        return None
    ((kind, content),) = structure.items()
    if kind == "dict":
        return {key: _given(item, tensors) for key, item in content.items()}
    if kind == "list":
        return [_given(item, tensors) for item in content]
    return tensors[content] if kind == "tensor" else content

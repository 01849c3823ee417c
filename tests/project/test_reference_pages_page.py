"""What docs/reference_pages.md names is there, and what it calls slips are slips here too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import dovetail
from dovetail.errors import ParamsError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference_pages.md").read_text(encoding="utf-8")


def test_the_tests_and_examples_exist() -> None:
    named = re.findall(r"`((?:tests|examples)/[^`]+|test_\w+\.py)`", PAGE)
    assert len(named) >= 8
    for name in named:
        path = ROOT / name if "/" in name else ROOT / "tests" / "reference" / name
        assert path.exists(), name


@pytest.mark.parametrize("mode", ["tune", "export", "evaluate"])
def test_a_modeler_s_config_refuses_another_mode(mode: str) -> None:
    with pytest.raises(ParamsError, match="mode"):
        dovetail.ModelerConfig(mode=mode, batch_size_per_gpu=1, gpu_count=1)


def test_torch_s_losses_take_int64() -> None:
    labels = np.array([0, 1], np.int32)
    with pytest.raises(RuntimeError, match="Long"):
        torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.from_numpy(labels))

"""What docs/datasets.md shows is run here, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import dovetail
from dovetail.data.batches.actions import actions_of

PAGE = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_pages_blocks_run_one_after_the_other(in_tmp: Path) -> None:
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "page", "exec"), namespace)
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("name", ["ArrayBatch", "ImagesBatch", "Batch"])
def test_every_ready_action_is_named(name: str) -> None:
    for action in actions_of(getattr(dovetail, name)):
        if not action.endswith("_model"):  # those of models have a page of their own
            assert f"`{action}`" in PAGE


def test_every_method_of_the_index_that_is_named_is_there() -> None:
    for name in ("subset_by_pos", "create_subset", "split", "folds", "gen_batch", "next_batch"):
        assert f"`{name}(" in PAGE
        assert hasattr(dovetail.DatasetIndex, name)
        assert hasattr(dovetail.Dataset, name)


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow", "npz", "npy"])
def test_what_one_file_holds_is_loaded_again(in_tmp: Path, ending: str) -> None:
    values = np.arange(4.0)
    dovetail.Batch(4, preloaded={"x": values}).dump(f"all.{ending}")
    batch = dovetail.Dataset(4).create_batch([2, 1])
    batch.add_components("x").load(f"all.{ending}", components="x")
    assert batch.x.tolist() == [2, 1]

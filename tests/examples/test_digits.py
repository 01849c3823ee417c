"""The demo's model file, on the digits it is made for."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.prepare import prepare
from dovetail.data.records import Records
from dovetail.definition.definition import load
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

FOLDER = Path(__file__).parents[2] / "examples" / "model_file"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits as records, by split."""
    folder = tmp_path_factory.mktemp("digits")
    runpy.run_path(str(FOLDER / "make_digits.py"))["write_digits"](folder / "images")
    definition = load(FOLDER / "digits.py")
    assert definition.schema is not None
    assert definition.prepare_data_for_a_single_file is not None
    for split in ("train", "test"):
        prepare(
            folder / "images" / split / "*" / "*.png",
            folder / split,
            definition.schema,
            definition.prepare_data_for_a_single_file,
            workers=1,
        )
    return {split: folder / split for split in ("train", "test")}


def test_the_demo_reaches_98_percent_on_digits_it_has_not_seen(
    records: dict[str, Path], tmp_path: Path
):
    config = RunConfig(str(tmp_path), progress=False)
    estimator = Estimator(FOLDER / "digits.py", config=config)
    estimator.train_run(records["train"], epochs=20)
    measured = estimator.evaluate(records["test"])
    assert measured["accuracy"] >= 0.98
    # The metric is that of the predictions, counted by hand.
    predicted = [int(np.argmax(row["output"])) for row in estimator.predict(records["test"])]
    labels = np.asarray(Records(records["test"]).gather(range(360))["label"]).ravel()
    assert np.mean(labels == predicted) == pytest.approx(measured["accuracy"])

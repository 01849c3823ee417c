"""What docs/augmentation.md shows is run here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import dovetail
from dovetail import augment
from dovetail.data.feed import RecordFeed
from dovetail.data.record_writer import RecordWriter

PAGE = (Path(__file__).parents[2] / "docs/augmentation.md").read_text(encoding="utf-8")
MODEL_FILE, TWO_DRAWS, ON_DEVICE = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def in_preprocess() -> str:
    """The model file, with the functions of the page's last section in place of its own."""
    first, _, rest = MODEL_FILE.partition("def input_fn")
    return f"{first}{ON_DEVICE}\n\n\ndef loss{rest.partition('def loss')[2]}"


@pytest.fixture
def records(in_tmp: Path) -> Path:
    path = in_tmp / "records"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    schema = dovetail.Schema(
        [dovetail.Field("image", (8, 8, 3), "uint8"), dovetail.Field("label", (1,), "int64")]
    )
    with RecordWriter(path, schema) as writer:
        for number, image in enumerate(pixels):
            writer.append((image, number % 10))
    return path


@pytest.mark.parametrize("text", [MODEL_FILE, in_preprocess()], ids=["input_fn", "preprocess"])
def test_the_model_file_trains_evaluates_and_predicts(text: str, records: Path) -> None:
    Path("model.py").write_text(text)
    config = dovetail.RunConfig(device="cpu", progress=False)
    estimator = dovetail.Estimator("model.py", "run", config, {"batch_size": 8})
    estimator.train(records, max_steps=3)
    assert estimator.evaluate(records)["global_step"] == 3
    assert len(list(estimator.predict(records))) == 20


def test_both_ways_flip_and_crop_alike(records: Path) -> None:
    namespace: dict[str, object] = {}
    exec(compile(in_preprocess(), "page", "exec"), namespace)
    input_fn, preprocess = namespace["input_fn"], namespace["preprocess"]
    mode = dovetail.ModeKeys.TRAIN

    def on_cpu(rows):
        images = augment.random_flip(rows["image"], rows.seeds)
        images = augment.random_crop(images, rows.seeds, (8, 8), padding=1)
        return images.astype(np.float32) / 255

    feeds = [
        RecordFeed(dovetail.Records(records), 7, stop=40, input_fn=one)
        for one in (on_cpu, lambda rows: input_fn(rows, mode))
    ]
    for cpu, device in zip(*feeds, strict=True):
        assert torch.equal(cpu.features, preprocess(device.features)["input"])


def test_two_draws_differ() -> None:
    seeds = np.arange(3)
    namespace = {"augment": augment, "seeds": seeds}
    exec(compile(TWO_DRAWS, "page", "exec"), namespace)
    one, two = namespace["image_and_noise"]
    assert one.shape == two.shape == (3, 8, 8)
    assert (one != two).all()

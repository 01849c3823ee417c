"""A working directory as the commands' examples have it: images, records, a model file, a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dovetail.cli.main import main

MODEL_FILE = """
import numpy as np
import torch
from torch import nn

from dovetail import metrics, optimizers


def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def preprocess(features):
    return {"image": features["image"].float() / 255}


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1):
    return optimizers.SGD(learning_rate=lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels=labels, predictions=predictions.argmax(dim=1))}


def data_schema():
    return [
        {"name": "image", "shape": [4, 4], "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
"""

FOLDER_MODEL = """
from dataclasses import dataclass

from torch.nn import functional

from dovetail import CSEstimatorSpec, ModeKeys, layers, metrics, optimizers


@dataclass
class ModelParams:
    classes: int
    scale: float = 1.0


def model_fn(features, labels, mode, params):
    x = features["x"] * params.model.scale
    logits = layers.fully_connected(x, params.model.classes, activation_fn=None)
    predictions = {"class": logits.argmax(-1)}
    if mode == ModeKeys.PREDICT:
        return CSEstimatorSpec(mode=mode, predictions=predictions)
    loss = functional.cross_entropy(logits, labels)
    train_op = optimizers.from_params(params.optimizer).minimize(loss)
    host_call = {"accuracy": metrics.accuracy(labels=labels, predictions=predictions["class"])}
    return CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op, host_call=host_call)
"""

FOLDER_DATA = """
import torch


def batches(section):
    labels = torch.arange(section.batch_size) % 3
    x = torch.nn.functional.one_hot(labels, 3).float()
    return [({"x": x}, labels)] * section.batches


def train_input_fn(params):
    return batches(params.train_input)


def eval_input_fn(params):
    return batches(params.eval_input)
"""

FOLDER_PARAMS = """
train_input:
  batch_size: 6
  batches: 8

eval_input:
  batch_size: 4
  batches: 2

model:
  classes: 3

optimizer:
  optimizer_type: momentum
  learning_rate:
    - scheduler: Constant
      learning_rate: 0.5
      steps: 2
    - scheduler: Linear
      initial_learning_rate: 0.5
      end_learning_rate: 0.1
      decay_steps: 6
  max_gradient_norm: 10.0

runconfig:
  model_dir: run
  save_checkpoints_steps: 4
  progress: false
"""


def write_params_folder(folder: Path) -> Path:
    """Write model.py, data.py and configs/params.yaml, and return the params file."""
    (folder / "configs").mkdir(parents=True)
    (folder / "model.py").write_text(FOLDER_MODEL)
    (folder / "data.py").write_text(FOLDER_DATA)
    params = folder / "configs" / "params.yaml"
    params.write_text(FOLDER_PARAMS.lstrip())
    return params


@pytest.fixture
def params_file(in_tmp: Path) -> Path:
    """The params file of my_model/ in an empty working directory."""
    return write_params_folder(Path("my_model"))


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


def write_images(folder: Path, classes: tuple[str, ...], each: int) -> None:
    """Write 4x4 images of a brightness that goes with their class, in one folder per class."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.full((4, 4), 80 * label + number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `shop` gives a copy of."""
    from dovetail.data.prepare import prepare
    from dovetail.data.readers.image_folder import ImageFolder
    from dovetail.definition.definition import load
    from dovetail.run.config import RunConfig
    from dovetail.run.estimator import Estimator

    place = tmp_path_factory.mktemp("template")
    model = place / "digits.py"
    model.write_text(MODEL_FILE)
    schema = load(model).schema
    assert schema is not None
    for split, each in (("train", 8), ("test", 3)):
        images, records = (place / "demo" / kind / split for kind in ("digits", "records"))
        write_images(images, ("0", "1", "2"), each)
        prepare([f"{images}/*/*.png"], records, schema, ImageFolder(schema), workers=1)
    write_params_folder(place / "my_model")
    config = RunConfig(str(place / "demo" / "model"), progress=False)
    Estimator(model, config=config, params={"batch_size": 8}).train(
        str(place / "demo/records/train"), max_steps=4
    )
    return place


@pytest.fixture
def shop(template: Path, in_tmp: Path) -> Path:
    """A working directory with digits.py, demo/digits, demo/records and demo/model at step 4."""
    shutil.copytree(template, in_tmp, dirs_exist_ok=True)
    return in_tmp

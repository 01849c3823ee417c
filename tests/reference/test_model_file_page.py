"""The model file page's two models and its other parts: images to records, to a trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import torch

import dovetail
from dovetail.data.prepare import prepare
from dovetail.data.records import Records
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

FOLDER = Path(__file__).parent
FILES = ["model_file_page_functional.py", "model_file_page_subclass.py"]
COUNT = 12


def image(number: int) -> np.ndarray:
    """A picture of class `number % 3`: a bright bar whose place tells the class, and noise."""
    noise = np.random.default_rng(number).integers(0, 60, (28, 28), dtype=np.uint8)
    noise[:, 8 * (number % 3) : 8 * (number % 3) + 6] += 180
    return noise


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in folders by label, made records by the page's own functions."""
    folder = tmp_path_factory.mktemp("page")
    for number in range(COUNT):
        (folder / "images" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        path = folder / "images" / str(number % 3) / f"{number:02d}.png"
        PIL.Image.fromarray(image(number)).save(path)
    definition = dovetail.load(FOLDER / FILES[0])
    assert definition.schema is not None
    assert definition.prepare_data_for_a_single_file is not None
    prepare(
        str(folder / "images" / "*" / "*.png"),
        folder / "records",
        definition.schema,
        definition.prepare_data_for_a_single_file,
        workers=1,
    )
    return folder / "records"


def batch(records: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    definition = dovetail.load(FOLDER / FILES[0])
    assert definition.input_fn is not None
    rows = Records(records).rows(np.arange(COUNT))
    features, labels = definition.input_fn({"records": rows})
    return features, torch.as_tensor(labels)


def test_the_page_s_functions_turn_images_into_batches(records: Path):
    features, labels = batch(records)
    # Files come in the order of their names: all of class 0, then 1, then 2.
    order = sorted(range(COUNT), key=lambda number: (number % 3, number))
    expected = np.stack([image(number) for number in order]).astype(np.float32) / 255
    np.testing.assert_array_equal(features["image"].numpy(), expected)
    assert labels.tolist() == [[number % 3] for number in order]


def test_the_functional_model_trains_and_its_pinned_calls_are_honoured(records: Path):
    features, labels = batch(records)
    program = dovetail.build(FOLDER / FILES[0], example=(features, labels), device="cpu")
    own = [float(program.train_step(features, labels)["loss"]) for _ in range(3)]
    assert own[-1] < own[0]
    state = {name: value.clone() for name, value in program.state().items()}
    assert float(state["model.batch_normalization.moving_mean"].abs().sum()) > 0
    # The page pins training=True: an evaluation drops units at random, too, but changes nothing.
    first, other = (program.eval_step(features, labels, batch=number) for number in (0, 1))
    assert not torch.equal(first["predictions"]["output"], other["predictions"]["output"])
    again = program.eval_step(features, labels)
    assert torch.equal(first["predictions"]["output"], again["predictions"]["output"])
    assert all(torch.equal(value, state[name]) for name, value in program.state().items())


def test_the_subclassed_model_takes_the_steps_of_a_plain_loop(
    records: Path, monkeypatch: pytest.MonkeyPatch
):
    # Without dropout, whose masks a loop of Keras' own would draw otherwise.
    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, inputs, training=False: inputs)
    features, labels = batch(records)
    program = dovetail.build(FOLDER / FILES[1], example=(features, labels), device="cpu")
    plain = twin(program.state())
    optimizer = torch.optim.SGD([v.value for v in plain.trainable_variables], lr=0.1)
    for _ in range(4):
        output = plain(features["image"], training=True)
        loss = torch.nn.functional.cross_entropy(output, labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        own = program.train_step(features, labels)["loss"]
        assert float(own) == pytest.approx(loss.item(), rel=1e-5)
    output = plain(features["image"], training=False)
    evaluated = program.eval_step(features, labels)
    torch.testing.assert_close(evaluated["predictions"]["output"], output.detach())
    right = (output.argmax(dim=1) == labels.flatten()).float().mean()
    assert float(evaluated["metrics"]["accuracy"]["values"]) == float(right)


def twin(state: dict[str, torch.Tensor]) -> keras.Model:
    """Return the page's network, written anew, with the weights of a program."""
    network = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv2d"),
            keras.layers.Conv2D(64, 3, activation="relu", name="conv2d_1"),
            keras.layers.BatchNormalization(name="batch_normalization"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="dense"),
        ]
    )
    for variable in network.variables:
        layer, name = variable.path.split("/")[-2:]
        variable.assign(state[f"model.{layer}.{name}"].clone())
    return network


@pytest.mark.parametrize("file", FILES)
def test_the_page_trains_evaluates_and_predicts_from_records(
    file: str, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = RunConfig(str(tmp_path / "model"), progress=False)
    estimator = Estimator(FOLDER / file, config=config, params={"optimizer": {"lr": 0.05}})
    estimator.train_run(records, max_steps=3, epochs=None)
    measured = estimator.evaluate(records)
    assert set(measured) == {"accuracy", "loss", "global_step"}
    assert measured["global_step"] == 3
    predicted = list(estimator.predict(records))
    assert len(predicted) == COUNT
    assert predicted[0]["output"].shape == (10,)


def test_both_models_begin_with_the_same_weights(records: Path):
    example = batch(records)
    build: Callable[[str], dovetail.Program] = lambda file: dovetail.build(  # noqa: E731
        FOLDER / file, example=example, device="cpu"
    )
    one, other = (build(file).state() for file in FILES)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)

"""A run on an iterable that is stopped and goes on ends as the one that was never stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dovetail.errors import DataError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator

Make = Callable[..., Estimator]


class Positioned:
    """Batches in an order of its own; it says and takes its position, and counts what it gave."""

    given = 0

    def __init__(self, x: np.ndarray, labels: np.ndarray) -> None:
        self.x, self.labels, self.at = x, labels, 0
        self.generator = np.random.default_rng(3)

    def __iter__(self) -> Iterator[Any]:
        while self.at < 9:
            rows = self.generator.integers(len(self.x), size=8)
            self.at += 1
            Positioned.given += 1
            yield {"x": self.x[rows]}, self.labels[rows]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
        self.generator.bit_generator.state = state["generator"]


@pytest.fixture
def kinds(table: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """An input_fn of each kind."""
    x, labels = table["x"], table["label"].reshape(-1)

    def in_a_list():
        return [({"x": x[i : i + 8]}, labels[i : i + 8]) for i in range(0, 32, 8)] * 2

    def generator():
        for _ in range(8):
            rows = np.random.permutation(len(x))[:8]
            noise = torch.randn(8, x.shape[1]) * 0.1
            yield {"x": torch.from_numpy(x[rows]) + noise}, labels[rows]

    def loader(own: bool = True):
        data = TensorDataset(
            torch.from_numpy(np.tile(x, (2, 1))), torch.from_numpy(labels.repeat(2))
        )
        drawn = torch.Generator().manual_seed(11) if own else None
        whole = DataLoader(data, batch_size=8, shuffle=True, generator=drawn)
        return (({"x": features}, y) for features, y in whole)

    return {
        "list": in_a_list,
        "generator": generator,
        "loader": loader,
        "loader of the global generator": lambda: loader(own=False),
    }


KINDS = ["list", "generator", "loader", "loader of the global generator"]


@pytest.mark.parametrize("kind", KINDS)
def test_fast_forward_ends_with_the_parameters_of_the_undisturbed_run(
    make: Make, kinds: Any, kind: str, assert_same_state: Any, capsys: pytest.CaptureFixture[str]
):
    whole = make("whole").train(kinds[kind], max_steps=7)
    np.random.seed(99)  # as another process would have it
    torch.manual_seed(99)
    make("cut", unpositioned_input="fast_forward").train(kinds[kind], max_steps=3)
    np.random.seed(7)
    again = make("cut", unpositioned_input="fast_forward").train(kinds[kind], max_steps=7)
    assert_same_state(whole, again)
    assert "24 examples that were used before are drawn again" in capsys.readouterr().err


def test_fast_forward_within_one_estimator_is_exact_too(
    make: Make, kinds: Any, assert_same_state: Any
):
    whole = make("whole").train(kinds["generator"], max_steps=7)
    cut = make("cut", unpositioned_input="fast_forward")
    cut.train(kinds["generator"], max_steps=2).train(kinds["generator"], max_steps=7)
    assert_same_state(whole, cut)


@pytest.mark.parametrize("same_process", [False, True])
@pytest.mark.parametrize("unpositioned", ["restart", "refuse"])
def test_what_says_its_position_goes_on_exactly_and_draws_nothing_again(
    make: Make, table: Any, assert_same_state: Any, same_process: bool, unpositioned: str
):
    def input_fn():
        return Positioned(table["x"], table["label"].reshape(-1))

    whole = make("whole").train(input_fn, max_steps=8)
    cut = make("cut", unpositioned_input=unpositioned)
    cut.train(input_fn, max_steps=3)
    Positioned.given = 0
    if not same_process:
        cut = make("cut", unpositioned_input=unpositioned)
    cut.train(input_fn, max_steps=8)
    assert Positioned.given == 5
    assert_same_state(whole, cut)


def test_a_checkpoint_holds_the_position_of_its_own_step(make: Make, table: Any, state_of: Any):
    def input_fn():
        return Positioned(table["x"], table["label"].reshape(-1))

    estimator = make(save_checkpoints_steps=2)
    estimator.train(input_fn, max_steps=5)
    for path in checkpoint.listed(estimator.model_dir):
        loaded = checkpoint.load(path)
        kept = loaded.state["input"]
        if loaded.step:
            assert kept["position"] == loaded.step * 8
            assert kept["held"]["at"] == loaded.step


def test_refuse_stops_a_resumed_run_before_anything_is_done(make: Make, kinds: Any):
    estimator = make(unpositioned_input="refuse").train(kinds["generator"], max_steps=3)
    folder = Path(estimator.model_dir)
    before = sorted(path.name for path in folder.glob("provenance/*"))
    with pytest.raises(DataError, match=r"generator .*can't start at example 24.*fast_forward"):
        make(unpositioned_input="refuse").train(kinds["generator"], max_steps=7)
    assert sorted(path.name for path in folder.glob("provenance/*")) == before
    assert estimator.latest_checkpoint() == str(folder / "checkpoints" / "0000000003")


def test_restart_begins_anew_with_other_random_numbers(make: Make, kinds: Any):
    seen: list[Any] = []

    def input_fn():
        for features, labels in kinds["generator"]():
            seen.append(features["x"])
            yield features, labels

    make().train(input_fn, max_steps=2)
    make().train(input_fn, max_steps=4)
    assert not torch.equal(seen[0], seen[2])

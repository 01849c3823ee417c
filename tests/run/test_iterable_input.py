"""An iterable is gone on from where a run stands: by its own state, by dropping, or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dovetail.errors import DataError
from dovetail.run.iterable_input import IterableInput

SIZE, BATCH = 22, 4  # the last batch is short
FAST: Any = {"unpositioned": "fast_forward"}


def loader(workers: int = 0) -> Any:
    """A DataLoader that shuffles with a generator of its own."""
    data = TensorDataset(torch.arange(SIZE).float().reshape(-1, 1), torch.arange(SIZE))
    own = torch.Generator().manual_seed(5)
    return DataLoader(data, BATCH, shuffle=True, generator=own, num_workers=workers)


def values(source: Any, position: int, **more: Any) -> list[list[float]]:
    """The features of each batch from a position on."""
    return [fed.features.reshape(-1).tolist() for fed in source.batches(position, **more)]


def noise(seen: int = 6) -> Iterator[Any]:
    """Batches made of all three global generators."""
    for _ in range(seen):
        drawn = [np.random.rand(), random.random(), float(torch.rand(()))]
        yield np.array([drawn] * BATCH), None


class Counting:
    """An iterable that says and takes its position, and counts what is drawn from it."""

    def __init__(self, count: int = 6, kept: Callable[[int], Any] = lambda at: {"at": at}) -> None:
        self.count, self.kept = count, kept
        self.at, self.drawn = 0, 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < self.count:
            self.at += 1
            self.drawn += 1
            yield np.full((BATCH, 1), self.at), np.zeros(BATCH)
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return self.kept(self.at)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


class CountingIterator:
    """An iterator that says and takes its position, of an iterable that does not."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> CountingIterator:
        return self

    def __next__(self) -> Any:
        if self.at == 6:
            raise StopIteration
        self.at += 1
        return np.full((BATCH, 1), self.at), None

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


class MakesIterators:
    def __iter__(self) -> CountingIterator:
        return CountingIterator()


@pytest.mark.parametrize("position", [0, 4, 12, 20, 22])
def test_fast_forward_over_a_shuffling_loader_gives_exactly_what_was_left(position: int):
    plain = [features.reshape(-1).tolist() for features, _ in loader()]
    source = IterableInput(loader(), "it", **FAST)
    assert values(source, position) == plain[-(-position // BATCH) :]


def test_fast_forward_is_exact_with_a_loader_that_shuffles_by_the_global_generator():
    data = TensorDataset(torch.arange(SIZE).float().reshape(-1, 1))

    def made() -> IterableInput:
        return IterableInput(DataLoader(data, BATCH, shuffle=True), "it", seed=3, **FAST)

    torch.manual_seed(0)
    whole = values(made(), 0)
    torch.manual_seed(1)
    assert values(made(), 8) == whole[2:]
    assert sorted(number for batch in whole for number in batch) == list(range(SIZE))


@pytest.mark.parametrize("position", [0, 8, 20])
def test_random_numbers_of_a_batch_are_those_of_its_position_whatever_came_between(position: int):
    whole = values(IterableInput(noise(), "it", seed=1), 0)
    rest = []
    for fed in IterableInput(noise(), "it", seed=1, **FAST).batches(position):
        rest.append(fed.features.reshape(-1).tolist())
        np.random.rand(3), random.random(), torch.rand(2)  # as training steps and hooks draw
    assert rest == whole[position // BATCH :]
    assert len({number for batch in whole for number in batch[:3]}) == 18
    assert values(IterableInput(noise(), "it", seed=2), 0) != whole


def test_predictions_leave_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    found = values(IterableInput(noise(1), "it", repeatable=False), 0)[0][:3]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    assert found == [np.random.rand(), random.random(), float(torch.rand(()))]


def test_a_list_generator_and_loader_restart_by_default_and_say_so():
    for made in (lambda: [(np.ones((4, 1)), None)] * 3, noise, loader):
        source = IterableInput(made(), "the input")
        feds = list(source.batches(40))
        assert feds[0].position_after == 44
        said = source.note(10, 40)
        assert said is not None
        assert "the input can't be positioned: it starts from its beginning" in said
        assert "at step 10" in said
        assert "fast_forward" in said
        fresh = IterableInput(made(), "the input")
        next(fresh.batches(0))
        assert "interrupted and started again will take it from its beginning" in str(
            fresh.note(0, 0)
        )


def test_fast_forward_says_what_it_does_and_that_it_is_done(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("dovetail.run.fast_forward.time.monotonic", lambda: next(clock))
    said: list[str] = []
    source = IterableInput([(np.ones((BATCH, 1)), None)] * 6, "it", **FAST)
    assert len(list(source.batches(16, say=said.append))) == 2
    assert "16 examples that were used before are drawn again and dropped" in said[0]
    assert any("of 16 examples are dropped" in line for line in said[1:-1])
    assert said[-1].startswith("it is at example 16, after ")
    assert source.note(4, 16) is None
    assert source.describe(16, 4).startswith("examples 16 to 19 of it")


def test_fast_forward_ends_where_a_signal_came():
    source = IterableInput(noise(), "it", **FAST)
    asked = iter([False, False, True])
    assert list(source.batches(20, stopped=lambda: next(asked))) == []


@pytest.mark.parametrize(
    ("position", "said"),
    [(30, r"brought to example 30.*ended after 24.*restart"), (10, r"end at 8 and 12.*batch size")],
)
def test_fast_forward_over_another_input_is_an_error_that_says_how_it_differs(
    position: int, said: str
):
    with pytest.raises(DataError, match=said):
        list(IterableInput(noise(), "it", **FAST).batches(position))


def test_refuse_names_the_input_and_the_choices_before_anything_is_drawn():
    source = IterableInput(iter(noise()), "input_fn train (a.py:3)", unpositioned="refuse")
    with pytest.raises(DataError, match=r"input_fn train.*example 8.*'fast_forward'.*'restart'"):
        next(source.batches(8))
    assert len(values(IterableInput(noise(), "it", unpositioned="refuse"), 0)) == 6


@pytest.mark.parametrize("made", [Counting, MakesIterators])
@pytest.mark.parametrize("unpositioned", ["restart", "fast_forward", "refuse"])
def test_what_says_and_takes_its_position_goes_on_from_there(made: Any, unpositioned: Any):
    whole = values(IterableInput(made(), "it"), 0)
    first = IterableInput(made(), "it")
    batches = first.batches(0)
    for _ in range(4):
        fed = next(batches)
    assert first.note(0, 0) is None
    state = json.loads(json.dumps(first.state(fed.position_after)))
    again = made()
    source = IterableInput(again, "it", unpositioned=unpositioned)
    assert values(source, 16, state=state) == whole[4:]
    assert source.note(4, 16) is None
    if isinstance(again, Counting):
        assert again.drawn == 2


def test_a_state_is_given_only_for_the_batch_that_was_drawn_last():
    source = IterableInput(Counting(), "it")
    assert source.state(0) is None
    batches = source.batches(0)
    next(batches), next(batches)
    assert source.state(BATCH) is None  # one was drawn ahead: its position is not what was used
    assert source.state(2 * BATCH) is not None
    batches.close()


def test_no_state_is_given_after_a_batch_that_failed():
    class Fails(Counting):
        def __iter__(self) -> Iterator[Any]:
            yield from [(np.ones((BATCH, 1)), None)]
            raise OSError("gone")

    source = IterableInput(Fails(), "it")
    batches = source.batches(0)
    next(batches)
    with pytest.raises(OSError, match="gone"):
        next(batches)
    assert source.state(BATCH) is None


def test_a_state_that_can_not_be_held_is_said_at_the_start_and_the_chosen_way_is_taken():
    source = IterableInput(Counting(kept=lambda at: {"at": at, "file": object()}), "it")
    next(source.batches(0))
    said = str(source.note(0, 0))
    assert "can't be held by a checkpoint: the state['file'] is a builtins.object" in said
    assert "take it from its beginning" in said
    assert source.state(BATCH) is None

    def fails(at: int) -> Any:
        raise RuntimeError("no iterator yet")

    source = IterableInput(Counting(kept=fails), "it")
    next(source.batches(0))
    assert "its state_dict raised RuntimeError: no iterator yet" in str(source.note(0, 0))


def test_a_state_of_another_position_or_of_another_input_is_not_taken():
    source = IterableInput(Counting(), "it")
    batches = source.batches(0)
    next(batches)
    state = source.state(BATCH)
    assert state is not None
    assert values(IterableInput(Counting(), "it"), 8, state=state)[0] == [1.0] * BATCH
    said = IterableInput(Counting(), "it")
    next(said.batches(8))
    assert "checkpoint holds no position of it" in str(said.note(2, 8))
    assert len(values(IterableInput(noise(), "it", **FAST), BATCH, state=state)) == 5


def test_a_state_that_is_refused_names_the_input():
    state = {"position": 4, "began_at": 0, "held": {"other": 1}}
    with pytest.raises(DataError, match=r"it does not take the position.*KeyError: 'at'"):
        next(IterableInput(Counting(), "it").batches(4, state=state))


def test_after_its_end_a_state_says_that_nothing_is_left_or_what_the_iterable_makes_of_it():
    source = IterableInput(CountingIterator(), "it")
    assert len(values(source, 0)) == 6
    state = source.state(6 * BATCH)
    assert values(IterableInput(CountingIterator(), "it"), 24, state=state) == []


def test_data_says_what_can_be_known():
    source = IterableInput(loader(), "it", function=loader)
    next(source.batches(0))
    assert source.data() == {
        "kind": "torch.utils.data.dataloader.DataLoader",
        "name": "loader",
        "batches": 6,
        "examples": SIZE,
        "batch_size": BATCH,
    }
    assert IterableInput(noise(), "it").data() == {"kind": "builtins.generator"}
    assert IterableInput(MakesIterators(), "it").data()["kind"].endswith(".MakesIterators")


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata calls it
@pytest.mark.parametrize("position", [4, 16])
def test_a_stateful_data_loader_goes_on_exactly(position: int):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    data = TensorDataset(torch.arange(SIZE).float().reshape(-1, 1), torch.arange(SIZE))

    def made() -> IterableInput:
        torch.manual_seed(0)  # as a run's input_fn is called
        return IterableInput(stateful(data, BATCH, shuffle=True), "it")

    whole = values(made(), 0)
    first = made()
    for fed in first.batches(0):
        if fed.position_after == position:
            break
    state = json.loads(json.dumps(first.state(position)))
    assert values(made(), position, state=state) == whole[position // BATCH :]

"""Steps over two processes: the gradients of the whole batch, whatever a part counts for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ranks, uneven = _beside("ranks"), _beside("uneven")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each of two processes saved; all cases share one pair."""
    return ranks.run("uneven", tmp_path_factory.mktemp("two"))


EVERY = [*uneven.MODELS, *uneven.MADE]


def assert_close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_two_processes_step_as_one_does_with_the_whole_batch(name: str, two: Any, tmp_path: Path):
    first, second = (worker[name] for worker in two)
    assert_same(first, second)
    whole = uneven.of_one_process(uneven.model_of(name, tmp_path))
    assert_close(first, whole)
    assert all(value.any() for value in whole["gradients"][0].values())


@pytest.mark.parametrize("name", EVERY)
def test_unequal_parts_step_as_the_whole_batch_does(name: str, tmp_path: Path):
    model = uneven.model_of(name, tmp_path)
    assert_close(uneven.in_parts(model), uneven.of_one_process(model))


def test_randomness_is_that_of_the_part_whoever_has_it(two: Any):
    program = uneven.built(uneven.with_dropout)
    expected = uneven.steps(program, [uneven.pieces(0, [4, 3])])
    assert_same(two[0]["dropout"], two[1]["dropout"])
    assert_close(two[0]["dropout"], expected)


def test_a_part_s_number_may_be_given():
    first, second = uneven.pieces(0, [4, 3])
    results = []
    for numbers in ((0, 1), (1, 0), (1, 0)):
        parts = [
            uneven.Part(part.features, part.labels, part.examples, number)
            for part, number in zip((first, second), numbers, strict=True)
        ]
        results.append(uneven.steps(uneven.built(uneven.with_dropout), [parts])["losses"])
    assert_same(results[1], results[2])
    assert results[0] != results[1]


def test_a_parameter_without_a_gradient_here_gets_that_of_the_other_worker(two: Any):
    expected = uneven.steps(uneven.built(uneven.branches), uneven.forked())
    first, second = (worker["branches"] for worker in two)
    assert_same(first, second)
    assert_close(first, expected)
    assert set(first["gradients"][0]) == {
        *("zero.weight", "zero.bias", "one.weight", "one.bias")
    }  # not of `never`, which weight decay would move
    assert set(first["gradients"][2]) == {"zero.weight", "zero.bias"}


def test_an_overflow_on_one_worker_skips_the_step_on_all(two: Any):
    for steps, _ in (worker["fp16"] for worker in two):
        assert steps == [(False, 1), (True, 1)]
    assert_same(two[0]["fp16"][1], two[1]["fp16"][1])


def test_a_worker_s_death_leaves_the_others_as_they_were(tmp_path: Path):
    survivor, dead = ranks.run("death", tmp_path)
    before, (same, step), after = survivor
    assert_same(before, dead)
    assert (same, step) == (True, 1)
    program = uneven.built(uneven.minimized)
    for number in range(2):
        program.train_parts(uneven.pieces(number, [7]))
    assert_close(after, dict(program.state()))


def test_workers_whose_models_differ_are_refused(two: Any):
    (first, _), (second, _) = (worker["refused"] for worker in two)
    assert "Worker 1 does not train what worker 0 does: 'out.bias' is [2] torch.float32" in first
    assert "Worker 0 does not train what worker 1 does" in second


def test_sparse_gradients_are_refused_with_the_cure(two: Any):
    for _, said in (worker["refused"] for worker in two):
        assert said.startswith("'words.weight' has a sparse gradient")
        assert "sparse=False" in said


def test_one_process_never_asks_for_a_group(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        sys.modules["dovetail.program.workers"].dist, "all_reduce", lambda *_, **__: 1 / 0
    )
    assert uneven.in_parts(uneven.minimized)["losses"]

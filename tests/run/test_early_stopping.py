"""Early stopping: by what evaluations said, those before a restart included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dovetail.errors import ParamsError
from dovetail.run.early_stopping import (
    EarlyStopping,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
)
from dovetail.run.hooks import Hook, Run
from dovetail.run.summaries import SummaryWriter

NAN = float("nan")


def stopped_at(
    make: Callable[[], Hook],
    values: list[float],
    model_dir: Path,
    *,
    metric: str = "loss",
    every: int = 10,
    restarts: tuple[int, ...] = (),
    name: str = "",
) -> tuple[int | None, str]:
    """Give a hook one evaluation after the other; return the step it stops at, and why.

    `restarts` says after how many evaluations a new run, with a new hook, goes on.
    """
    hook, run = make(), Run(cast(Any, None), model_dir)
    hook.begin(run)
    for number, value in enumerate(values, 1):
        step = number * every
        run.step = step
        with SummaryWriter(model_dir / (f"eval_{name}" if name else "eval")) as writer:
            writer.scalars({metric: value}, step)
        hook.after_evaluate(run, name, {metric: value, "global_step": step})
        if number in restarts:
            hook, run = make(), Run(cast(Any, None), model_dir, step)
            hook.begin(run)
        if run.stopping:
            return step, run.why
    return None, run.why


CASES: list[tuple[dict[str, Any], list[float], int | None]] = [
    ({"patience": 2}, [0.5, 0.4, 0.45, 0.41, 0.3], 40),
    ({"patience": 2}, [0.5, 0.4, 0.45, 0.39, 0.41, 0.40], 60),
    ({"patience": 3}, [0.5, 0.4, 0.3, 0.2, 0.1], None),
    ({"patience": 2, "min_delta": 0.1}, [0.5, 0.45, 0.42, 0.1], 30),
    ({"patience": 2, "mode": "higher"}, [0.5, 0.4, 0.45], 30),
    ({"patience": 1, "min_steps": 30}, [0.1, 0.2, 0.3, 0.2, 0.25], 50),
    ({"patience": 2}, [NAN, NAN, NAN], 30),
    ({"patience": 2}, [0.5, NAN, 0.4, NAN, NAN], 50),
    ({"patience": 1}, [0.1, 0.1 - 1e-12], 20),
]


@pytest.mark.parametrize(("arguments", "values", "step"), CASES)
@pytest.mark.parametrize("restarts", [(), (1, 2, 3, 4)])
def test_a_run_ends_when_nothing_better_came_for_some_evaluations(
    arguments: dict[str, Any],
    values: list[float],
    step: int | None,
    restarts: tuple[int, ...],
    tmp_path: Path,
):
    def make() -> Hook:
        return EarlyStopping("loss", **arguments)

    assert stopped_at(make, values, tmp_path, restarts=restarts)[0] == step


def test_why_is_said_with_the_best_and_its_step(tmp_path: Path):
    why = stopped_at(lambda: EarlyStopping(patience=2), [0.5, 0.25, 0.3, 0.3], tmp_path)[1]
    assert why == "loss was not better than 0.25 (step 20) in 2 evaluations, up to step 40"


def test_a_run_that_was_stopped_stops_again_at_once_until_it_has_more_patience(tmp_path: Path):
    values = [0.1, 0.2, 0.3]
    assert stopped_at(lambda: EarlyStopping(patience=2), values, tmp_path)[0] == 30
    for patience, stops in ((2, True), (3, False)):
        run = Run(cast(Any, None), tmp_path, 30)
        EarlyStopping(patience=patience).begin(run)
        assert run.stopping is stops


def test_evaluations_of_steps_that_a_resumed_run_takes_again_do_not_count(tmp_path: Path):
    stopped_at(lambda: EarlyStopping(patience=2), [0.1, 0.2, 0.3], tmp_path)
    run = Run(cast(Any, None), tmp_path, 20)
    EarlyStopping(patience=2).begin(run)
    assert not run.stopping


def test_only_the_evaluation_that_is_named_counts(tmp_path: Path):
    hook = EarlyStopping("accuracy", patience=1, name="hard")
    run = Run(cast(Any, None), tmp_path)
    hook.begin(run)
    for step, name in ((1, ""), (2, "easy"), (3, "hard"), (4, ""), (5, "easy")):
        hook.after_evaluate(run, name, {"accuracy": 0.5 / step, "global_step": step})
    assert not run.stopping
    hook.after_evaluate(run, "hard", {"accuracy": 0.01, "global_step": 6})
    assert run.stopping


@pytest.mark.parametrize("restarts", [(), (1, 2, 3)])
def test_the_hooks_of_tensorflow_stop_as_their_names_say(restarts: tuple[int, ...], tmp_path: Path):
    estimator = cast(Any, SimpleNamespace(model_dir=str(tmp_path)))
    cases = [
        (lambda: stop_if_no_increase_hook(estimator, "m", 20), [0.1, 0.3, 0.3, 0.2, 0.4], 40),
        (lambda: stop_if_no_increase_hook(estimator, "m", 30), [0.1, 0.3, 0.3, 0.2, 0.4], None),
        (lambda: stop_if_no_decrease_hook(estimator, "m", 20), [0.3, 0.2, 0.3, 0.2], 40),
        (lambda: stop_if_higher_hook(estimator, "m", 0.5), [0.1, 0.5, 0.6], 30),
        (lambda: stop_if_lower_hook(estimator, "m", 0.5, min_steps=20), [0.1, 0.6, 0.4], 30),
        (lambda: stop_if_lower_hook(estimator, "m", 0.5), [0.6, NAN, 0.5], None),
    ]
    for number, (make, values, step) in enumerate(cases):
        estimator.model_dir = str(tmp_path / str(number))
        found = stopped_at(make, values, Path(estimator.model_dir), metric="m", restarts=restarts)[
            0
        ]
        assert found == step, number


def test_the_folder_of_an_evaluation_chooses_it(tmp_path: Path):
    estimator = cast(Any, SimpleNamespace(model_dir=str(tmp_path)))
    for folder in ("eval_hard", tmp_path / "eval_hard"):
        hook = stop_if_higher_hook(estimator, "m", 0.5, eval_dir=folder)
        run = Run(cast(Any, None), tmp_path)
        hook.after_evaluate(run, "", {"m": 0.9})
        assert not run.stopping
        hook.after_evaluate(run, "hard", {"m": 0.9})
        assert run.stopping
    with pytest.raises(ParamsError, match="does not lie in the model_dir"):
        stop_if_higher_hook(estimator, "m", 0.5, eval_dir=tmp_path / "other" / "eval")


def test_a_metric_that_is_not_there_is_named_with_its_nearest(tmp_path: Path):
    hook, run = EarlyStopping("acuracy"), Run(cast(Any, None), tmp_path)
    hook.begin(run)
    with pytest.raises(ParamsError, match=r"'acuracy', .* Did you mean 'accuracy'\?"):
        hook.after_evaluate(run, "", {"accuracy": 0.5, "loss": 1.0})


def test_a_run_without_evaluations_is_told(tmp_path: Path):
    said: list[str] = []
    hook, run = EarlyStopping(), Run(cast(Any, None), tmp_path, show=said.append)
    hook.begin(run)
    hook.end(run)
    assert "there was no such evaluation" in said[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EarlyStopping(patience=0), "patience must be a whole number of at least 1"),
        (lambda: EarlyStopping(mode="max"), "Did you mean 'higher'"),  # pyright: ignore
        (lambda: EarlyStopping(min_delta=-1), "min_delta must be 0 or more"),
        (lambda: EarlyStopping(""), "must be a name"),
        (lambda: stop_if_higher_hook(cast(Any, None), "m", "x"), "threshold must be a number"),  # pyright: ignore
        (lambda: stop_if_no_increase_hook(cast(Any, None), "m", 1.5), "max_steps_without"),  # pyright: ignore
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(make: Callable[[], object], said: str):
    with pytest.raises(ParamsError, match=said):
        make()

"""Ending a run by what its evaluations say.

What was evaluated before a restart is read from the event log of the evaluation, so a run that was
interrupted stops where one that was not would have; and one that was stopped stops again at once,
until it is given more patience.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.errors import ParamsError, nearest
from dovetail.run.better import BestIs, better, comparable, lower_is_better
from dovetail.run.hooks import Hook, Run
from dovetail.run.summaries import read_scalars

if TYPE_CHECKING:
    from dovetail.run.estimator import Estimator

Point = tuple[int, float]
Rule = Callable[[list[Point]], str | None]
"""From (step, value) of each evaluation to why to stop, or None."""


class _Stopping(Hook):
    """Asks for the end of a run when a rule says so of a metric's history."""

    def __init__(self, metric: str, rule: Rule, *, folder: str, min_steps: int) -> None:
        if not isinstance(metric, str) or not metric:
            raise ParamsError(f"The metric to stop by must be a name; it is {metric!r}.")
        self.metric = metric
        self.min_steps = _whole("min_steps", min_steps, 0)
        self.folder = folder
        self._rule = rule
        self._history: list[Point] = []

    def begin(self, run: Run) -> None:
        points = read_scalars(run.model_dir / self.folder).get(self.metric, [])
        self._history = [(step, value) for step, value in points if step <= run.step]
        self._decide(run)

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        if self.folder != (f"eval_{name}" if name else "eval"):
            return
        values = comparable(metrics)
        if self.metric not in values:
            raise ParamsError(
                f"The run is to stop by '{self.metric}', which the evaluation does not give."
                f"{nearest(self.metric, values)} It gives: {', '.join(values)}."
            )
        step = int(metrics.get("global_step", run.step))
        self._history = [*(p for p in self._history if p[0] != step), (step, values[self.metric])]
        self._decide(run)

    def end(self, run: Run) -> None:
        if not self._history:
            run.note(
                f"The run was to stop by '{self.metric}' of {self.folder}, and there was no such "
                "evaluation: give one beside the training, with train_and_evaluate or --eval-data."
            )

    def _decide(self, run: Run) -> None:
        why = self._rule([point for point in self._history if point[0] >= self.min_steps])
        if why is not None:
            run.request_stop(why)


class EarlyStopping(_Stopping):
    """Ends a run when a metric has not become better for some evaluations.

    Args:
      metric: of an evaluation beside the training.
      patience: after how many evaluations without a better value the run ends.
      min_delta: by how much a value has to be better to count.
      mode: "higher" is better, or "lower"; "auto": lower for a loss, an error or a perplexity.
      name: of the evaluation, if it has one.
      min_steps: evaluations before this step do not count.

    Raises:
      ParamsError: an argument is out of range.

    Example:
      >>> EarlyStopping("accuracy", patience=3).metric
      'accuracy'
    """

    def __init__(
        self,
        metric: str = "loss",
        *,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: BestIs = "auto",
        name: str | None = None,
        min_steps: int = 0,
    ) -> None:
        if mode not in ("auto", "higher", "lower"):
            raise ParamsError(
                f"EarlyStopping: mode must be 'auto', 'higher' or 'lower'; it is {mode!r}."
                f"{_KERAS.get(mode, '')}"
            )
        if isinstance(min_delta, bool) or not isinstance(min_delta, int | float) or min_delta < 0:
            raise ParamsError(f"EarlyStopping: min_delta must be 0 or more; it is {min_delta!r}.")
        self.patience = _whole("patience", patience, 1)
        self.min_delta = min_delta
        self.lower = lower_is_better(str(metric), mode)
        folder = f"eval_{name}" if name else "eval"
        super().__init__(metric, self._without_better, folder=folder, min_steps=min_steps)

    def _without_better(self, history: list[Point]) -> str | None:
        for (step, _), (best_step, best), worse in _runs(history, self.lower, self.min_delta):
            if worse >= self.patience:
                return (
                    f"{self.metric} was not better than {best:.4g} (step {best_step}) in {worse} "
                    f"evaluations, up to step {step}"
                )
        return None


_KERAS = {"min": " Did you mean 'lower'?", "max": " Did you mean 'higher'?"}


def stop_if_no_increase_hook(
    estimator: Estimator,
    metric_name: str,
    max_steps_without_increase: int,
    eval_dir: str | Path | None = None,
    min_steps: int = 0,
) -> Hook:
    """Make a hook that ends a run when a metric has not increased for some steps.

    Args:
      estimator: what is trained.
      metric_name: of an evaluation beside the training.
      max_steps_without_increase: the run ends at the first evaluation so many steps after its best.
      eval_dir: the event log of the evaluation, in model_dir; that of the one without a name.
      min_steps: evaluations before this step do not count.

    Returns:
      A hook for the training.

    Raises:
      ParamsError: an argument is out of range.
    """
    return _no_better(
        estimator, metric_name, max_steps_without_increase, eval_dir, min_steps, lower=False
    )


def stop_if_no_decrease_hook(
    estimator: Estimator,
    metric_name: str,
    max_steps_without_decrease: int,
    eval_dir: str | Path | None = None,
    min_steps: int = 0,
) -> Hook:
    """Make a hook that ends a run when a metric has not decreased for some steps.

    Arguments, returns and errors are those of `stop_if_no_increase_hook`.
    """
    return _no_better(
        estimator, metric_name, max_steps_without_decrease, eval_dir, min_steps, lower=True
    )


def stop_if_higher_hook(
    estimator: Estimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | Path | None = None,
    min_steps: int = 0,
) -> Hook:
    """Make a hook that ends a run when a metric is above a threshold.

    Other arguments, returns and errors are those of `stop_if_no_increase_hook`.
    """
    return _beyond(estimator, metric_name, threshold, eval_dir, min_steps, lower=False)


def stop_if_lower_hook(
    estimator: Estimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | Path | None = None,
    min_steps: int = 0,
) -> Hook:
    """Make a hook that ends a run when a metric is below a threshold.

    Other arguments, returns and errors are those of `stop_if_no_increase_hook`.
    """
    return _beyond(estimator, metric_name, threshold, eval_dir, min_steps, lower=True)


def _no_better(
    estimator: Estimator,
    metric: str,
    steps: int,
    eval_dir: str | Path | None,
    min_steps: int,
    *,
    lower: bool,
) -> Hook:
    kind = "decrease" if lower else "increase"
    patience = _whole(f"max_steps_without_{kind}", steps, 0)

    def rule(history: list[Point]) -> str | None:
        for (step, _), (best_step, best), _ in _runs(history, lower, 0.0):
            if step - best_step >= patience and step != best_step:
                return f"{metric} did not {kind} from {best:.4g} (step {best_step}) to step {step}"
        return None

    return _Stopping(metric, rule, folder=_folder(estimator, eval_dir), min_steps=min_steps)


def _beyond(
    estimator: Estimator,
    metric: str,
    threshold: float,
    eval_dir: str | Path | None,
    min_steps: int,
    *,
    lower: bool,
) -> Hook:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise ParamsError(f"threshold must be a number; it is {threshold!r}.")

    def rule(history: list[Point]) -> str | None:
        for step, value in history:
            if value < threshold if lower else value > threshold:
                side = "below" if lower else "above"
                return f"{metric} is {value:.4g} at step {step}, {side} {threshold:.4g}"
        return None

    return _Stopping(metric, rule, folder=_folder(estimator, eval_dir), min_steps=min_steps)


def _runs(
    history: list[Point], lower: bool, min_delta: float
) -> Iterable[tuple[Point, Point, int]]:
    """Yield each point, the best up to it, and how many points it is since that."""
    best, worse = (0, float("nan")), 0
    for number, point in enumerate(history):
        if number == 0 or better(point[1], best[1], lower=lower, min_delta=min_delta):
            best, worse = point, 0
        else:
            worse += 1
        yield point, best, worse


def _folder(estimator: Estimator, eval_dir: str | Path | None) -> str:
    if eval_dir is None:
        return "eval"
    folder = Path(eval_dir)
    if folder.is_absolute() or folder.parent != Path():
        inside = folder.resolve().parent == Path(estimator.model_dir).resolve()
        if not inside:
            raise ParamsError(
                f"eval_dir {eval_dir} does not lie in the model_dir {estimator.model_dir}; give "
                "the folder of one of its evaluations, such as estimator.eval_dir('test')."
            )
    return folder.name


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ParamsError(f"{name} must be a whole number of at least {least}; it is {value!r}.")
    return value

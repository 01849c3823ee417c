"""The evaluations beside a training: the live program, in the same process, at each checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dovetail.errors import ParamsError, nearest
from dovetail.run import checkpoint, retention
from dovetail.run.evaluate import as_before, evaluate, scalars
from dovetail.run.evaluation_log import EvaluationLog
from dovetail.run.exporters import checked_exporters
from dovetail.run.hooks import Hook, Run
from dovetail.run.inputs import Input
from dovetail.run.saving import step_of
from dovetail.run.seeded_input import GENERATORS_IN_USE
from dovetail.run.specs import EvalSpec, checked_specs

Metrics = dict[str, Any]


class Evaluations:
    """The evaluations beside a training, which its loop calls.

    The loop calls `begin` before its first step, `after_save` when it has begun to save, and
    `after_written` when that checkpoint is whole on disk, which may be some steps later; who
    called the loop calls `finish` when the run has come to its end.

    Args:
      specs: one or several, of different names.
      open_source: gives the input of a spec.
      model_dir: where event logs and exports are kept.
      estimator: what exporters are given.

    Attributes:
      interrupted: whether to give up an evaluation that is under way, since the run is to end
        soon; set by the loop. What it gave so far is dropped, and a resumed run makes it anew.
      count: how many evaluations were made.
      metrics: name -> metrics of the newest evaluations; empty where there was none.

    Raises:
      ParamsError: two specs have one name, or two exporters.
    """

    def __init__(
        self,
        specs: EvalSpec | Sequence[EvalSpec],
        open_source: Callable[[EvalSpec], Input],
        model_dir: Path,
        *,
        estimator: Any = None,
    ) -> None:
        self.specs = checked_specs(specs)
        self.interrupted: Callable[[], bool] = lambda: False
        self.count = 0
        self.metrics: dict[str, Metrics] = {}
        self._model_dir = model_dir
        self._open_source = open_source
        self._estimator = estimator
        self._sources: dict[str, Input] = {}
        self._logs = {spec.folder: EvaluationLog(model_dir / spec.folder) for spec in self.specs}
        self._by_step: dict[int, dict[str, Metrics]] = {}
        self._exported: dict[str, Path] = {}

    @property
    def exports(self) -> list[Path]:
        """What each exporter exported last, in the order of the specs."""
        return list(self._exported.values())

    def begin(self, run: Run, *, made_up: bool = True) -> list[tuple[str, Metrics]]:
        """Drop what the event logs hold of steps to come, and make up for what was missed.

        A run that was killed between a checkpoint and its evaluation, or between that and the
        exports, is resumed from the checkpoint: what is missing is done now.

        Args:
          run: where it stands.
          made_up: whether to make missing evaluations; not where the checkpoint was saved only
            because a signal ended the run, since a run that goes through has none there.

        Returns:
          (name, metrics) of each evaluation that was missed.
        """
        for log in self._logs.values():
            log.begin(run.step)
        if run.step == 0:
            return []
        missed = []
        for spec in self.specs:
            known = self._logs[spec.folder].at(run.step)
            if known:
                self._remember(run.step, spec, {**known, "global_step": run.step})
                self._report(run.step, spec, known)
            elif made_up:
                missed.append(spec)
        results = self._evaluate(run, missed)
        for path in checkpoint.listed(self._model_dir):
            if step_of(path) == run.step:
                self.after_written(path)
        return results

    def after_save(self, run: Run, step: int) -> list[tuple[str, Metrics]]:
        """Evaluate the live program, whose state at `step` is being saved.

        Returns:
          (name, metrics) of each evaluation, in the order of the specs; none at step 0, at a step
          that is evaluated already, or where the run is to end before they are done.
        """
        done = self._by_step.get(step, {})
        if step == 0:
            return []
        return self._evaluate(run, [spec for spec in self.specs if (spec.name or "") not in done])

    def after_written(self, path: Path) -> list[Path]:
        """Export the checkpoint at `path`, which is whole on disk, as its evaluations say.

        Returns:
          The exports that were made.
        """
        for step in [step for step in self._by_step if step < step_of(path)]:
            del self._by_step[step]
        return self._export(path, final=False)

    def finish(self, path: Path | None) -> None:
        """Make the exports of the end of a run.

        Args:
          path: of its last checkpoint.
        """
        if path is not None:
            self._export(path, final=True)

    def take(self, spec: EvalSpec, step: int, metrics: Metrics) -> None:
        """Take what an evaluation by other means gave, as if it had been made here."""
        self._remember(step, spec, metrics)

    def _evaluate(self, run: Run, specs: Sequence[EvalSpec]) -> list[tuple[str, Metrics]]:
        step = run.program.global_step
        results = []
        for spec in specs:
            try:
                with as_before(run.program):  # an input_fn may draw when it is called
                    metrics = evaluate(
                        run.program,
                        self._source(spec),
                        steps=spec.steps,
                        model_dir=self._model_dir,
                        hooks=(_GivingUp(self.interrupted), *(spec.hooks or ())),
                    )
            except _GivenUpError:
                return []
            except Exception as error:
                named = f" '{spec.name}'" if spec.name else ""
                error.add_note(f"This was in the evaluation{named} at step {step} of the training.")
                raise
            results.append((spec.name or "", metrics))
        for spec, (_, metrics) in zip(specs, results, strict=True):
            self.count += 1
            self._remember(step, spec, metrics)
            self._report(step, spec, scalars(metrics))
            self._logs[spec.folder].write(scalars(metrics), step)
        if results:
            self._check_best(run, step)
        return results

    def _remember(self, step: int, spec: EvalSpec, metrics: Metrics) -> None:
        self._by_step.setdefault(step, {})[spec.name or ""] = metrics
        self.metrics[spec.name or ""] = metrics

    def _report(self, step: int, spec: EvalSpec, metrics: Mapping[str, float]) -> None:
        """Record by what the best checkpoints are kept; a metric without a name is the first's."""
        for name in {spec.name or "", "" if spec is self.specs[0] else spec.name or ""}:
            retention.report(self._model_dir, step, metrics, name)

    def _check_best(self, run: Run, step: int) -> None:
        """Refuse a metric for the best checkpoints that no evaluation gives."""
        if run.config is None or not run.config.keep_checkpoint_best:
            return
        evaluated = self._by_step[step].items()
        known = [f"{name}/{key}" for name, metrics in evaluated for key in scalars(metrics) if name]
        known += scalars(self._by_step[step].get(self.specs[0].name or "", {}))
        best = run.config.best_metric
        if best not in known:
            raise ParamsError(
                f"keep_checkpoint_best goes by best_metric '{best}', which no evaluation gives."
                f"{nearest(best, known)} There is: {', '.join(known)}."
            )

    def _source(self, spec: EvalSpec) -> Input:
        source = self._sources.get(spec.folder)
        if source is None:
            with GENERATORS_IN_USE:
                source = self._open_source(spec)
            if source.positioned:  # it can be begun again and again
                self._sources[spec.folder] = source
        return source

    def _export(self, path: Path, *, final: bool) -> list[Path]:
        evaluated = self._by_step.get(step_of(path), {})
        made = []
        for spec in self.specs:
            if (spec.name or "") not in evaluated:
                continue
            for exporter in checked_exporters(spec.exporters):
                folder = self._model_dir / "export" / exporter.name
                metrics = evaluated[spec.name or ""]
                exported = exporter.export(self._estimator, folder, path, metrics, final)
                if exported is not None:
                    self._exported[exporter.name] = Path(exported)
                    made.append(Path(exported))
        return made


def line(name: str, step: int, metrics: Mapping[str, Any]) -> str:
    """Say in one line what an evaluation gave.

    >>> line("test", 100, {"accuracy": 0.5, "loss": 0.25, "global_step": 100})
    'Evaluation test at step 100: accuracy 0.5  loss 0.25'
    """
    values = [f"{key} {value:.4g}" for key, value in scalars(metrics).items()]
    return f"Evaluation{' ' if name else ''}{name} at step {step}: {'  '.join(values)}"


class _GivenUpError(Exception):
    """An evaluation that is not gone on with."""


class _GivingUp(Hook):
    """Gives an evaluation up when the run is to end."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        self.interrupted = interrupted

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self.interrupted():
            raise _GivenUpError

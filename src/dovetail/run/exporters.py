"""Exporters: what is kept of a run beside its newest checkpoints, chosen by its evaluations.

Until models are exported for serving, an export is a whole checkpoint in
`model_dir/export/<name>/<step>/`, which `Estimator.evaluate(checkpoint_path=...)` and the command
line take as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dovetail.errors import ParamsError, nearest
from dovetail.run import best_export, export_folder
from dovetail.run import checkpoint_files as files
from dovetail.run.better import BestIs, better, comparable, lower_is_better
from dovetail.run.saving import step_of

Compare = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


@runtime_checkable
class Exporter(Protocol):
    """Is asked after each evaluation beside training whether to export its checkpoint.

    Attributes:
      name: of the folder in `model_dir/export` that is its own.
    """

    name: str

    def export(
        self,
        estimator: Any,
        export_path: Path,
        checkpoint_path: Path,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> Path | None:
        """Export a checkpoint that is whole on disk, or do nothing.

        It may be called again for the same checkpoint: at the end of a run, or when one that was
        killed is resumed.

        Args:
          estimator: what is trained.
          export_path: the exporter's own folder.
          checkpoint_path: the checkpoint's.
          eval_result: metric -> value at that checkpoint.
          is_the_final_export: whether the run has come to its end.

        Returns:
          The export's path, or None where there was nothing to do.
        """
        ...


class LatestExporter:
    """Exports each checkpoint that is evaluated, and keeps the newest.

    Args:
      name: of its folder.
      exports_to_keep: how many; None keeps all.

    Example:
      >>> LatestExporter(exports_to_keep=2).name
      'latest'
    """

    def __init__(self, name: str = "latest", exports_to_keep: int | None = 5) -> None:
        self.name = _checked_name(name)
        self.exports_to_keep = _checked_keep(exports_to_keep)

    def export(
        self,
        estimator: Any,
        export_path: Path,
        checkpoint_path: Path,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> Path | None:
        exported = export_folder.put(checkpoint_path, export_path)
        export_folder.prune(export_path, self.exports_to_keep, exported)
        return exported


class FinalExporter:
    """Exports the last checkpoint of a run, when it has come to its end, and keeps only that.

    Args:
      name: of its folder.
    """

    def __init__(self, name: str = "final") -> None:
        self.name = _checked_name(name)

    def export(
        self,
        estimator: Any,
        export_path: Path,
        checkpoint_path: Path,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> Path | None:
        if not is_the_final_export:
            return None
        exported = export_folder.put(checkpoint_path, export_path)
        export_folder.prune(export_path, 1, exported)
        return exported


class BestExporter:
    """Exports a checkpoint that is better than every one before, in this run and before restarts.

    What is the best is kept in `best.json` in its folder, which is written when the export is
    whole. Metrics are compared as event logs hold them, in float32.

    Args:
      name: of its folder.
      metric: by which is compared.
      best_is: "higher", "lower", or "auto": lower for a loss, an error or a perplexity.
      compare_fn: `(best_eval_result, current_eval_result) -> whether the current is better`,
        instead of a metric; its values were rounded to float32 and lists left out.
      exports_to_keep: how many of the best; None keeps all.

    Raises:
      ParamsError: an argument is of the wrong kind.

    Example:
      >>> BestExporter(metric="accuracy").better({"accuracy": 0.5}, {"accuracy": 0.6})
      True
    """

    def __init__(
        self,
        name: str = "best",
        metric: str = "loss",
        best_is: BestIs = "auto",
        compare_fn: Compare | None = None,
        exports_to_keep: int | None = 5,
    ) -> None:
        if best_is not in ("auto", "higher", "lower"):
            raise ParamsError(
                f"BestExporter: best_is must be 'auto', 'higher' or 'lower'; it is {best_is!r}."
            )
        if compare_fn is not None and not callable(compare_fn):
            raise ParamsError(
                "BestExporter: compare_fn must be a function (best_eval_result, "
                f"current_eval_result) -> bool; it is {compare_fn!r}."
            )
        self.name = _checked_name(name)
        self.metric = metric
        self.lower = lower_is_better(metric, best_is)
        self.compare_fn = compare_fn
        self.exports_to_keep = _checked_keep(exports_to_keep)

    def better(self, best: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
        """Whether one evaluation's metrics are better than another's; nothing is worse than nan."""
        if self.compare_fn is not None:
            return bool(self.compare_fn(best, current))
        return better(current[self.metric], best[self.metric], lower=self.lower)

    def export(
        self,
        estimator: Any,
        export_path: Path,
        checkpoint_path: Path,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> Path | None:
        current = comparable(eval_result)
        best = best_export.read(export_path)
        if self.compare_fn is None:
            self._check_has_metric("the evaluation", current)
            if best is not None:
                self._check_has_metric(str(export_path / best_export.NAME), best["metrics"])
        record = {"step": step_of(checkpoint_path), "metrics": current}
        nothing = {self.metric: math.nan}  # anything is better, but for another nan
        if best is None:
            improved = self.compare_fn is not None or self.better(nothing, current)
        else:
            improved = best == record or self.better(best["metrics"], current)
        if not improved:
            # At the end it is said where the best is, be it from before.
            wanted = best if is_the_final_export else None
            return files.listed(export_path).get(wanted["step"]) if wanted else None
        # Copied, recorded, then the surplus is deleted. A kill between leaves one export more, and
        # the best before as it was; a resumed run asks again, which does what is left.
        exported = export_folder.put(checkpoint_path, export_path)
        if exported is not None:
            best_export.write(export_path, record)
            export_folder.prune(export_path, self.exports_to_keep, exported)
        return exported

    def _check_has_metric(self, where: str, metrics: Mapping[str, Any]) -> None:
        if self.metric not in metrics:
            raise ParamsError(
                f"BestExporter '{self.name}' compares by '{self.metric}', which {where} does not "
                f"hold.{nearest(self.metric, metrics)} It holds: {', '.join(metrics)}."
            )


def checked_exporters(given: Exporter | Iterable[Exporter] | None) -> tuple[Exporter, ...]:
    """Return one or several exporters as a tuple.

    Raises:
      ParamsError: one is a class instead of its instance, or has no `name` and `export`.
    """
    if given is None:
        return ()
    taken = tuple(given) if isinstance(given, Iterable) else (given,)
    for one in taken:
        if isinstance(one, type) or not isinstance(one, Exporter):
            what = f"the class {one.__qualname__}" if isinstance(one, type) else repr(one)
            raise ParamsError(
                f"exporters holds {what}; it must hold objects with a name and export(...), such "
                "as dovetail.LatestExporter(), BestExporter() or FinalExporter()."
            )
    return taken


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name or set(name) & set("/\\\0") or name.startswith("."):
        raise ParamsError(
            f"An exporter's name must be that of a folder, without '/'; it is {name!r}."
        )
    return name


def _checked_keep(keep: Any) -> int | None:
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
        raise ParamsError(
            f"exports_to_keep must be a whole number above 0, or None to keep all; it is {keep!r}."
        )
    return keep

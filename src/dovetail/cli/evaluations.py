"""What `train` evaluates beside itself, from its flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dovetail.errors import ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.run.early_stopping import EarlyStopping
    from dovetail.run.exporters import Exporter
    from dovetail.run.resolve import Resolved
    from dovetail.run.specs import EvalSpec

EXPORTS = ("latest", "best", "final")

_PANEL = "Evaluation beside training"
EVAL_DATA = Annotated[
    list[str] | None,
    typer.Option(
        "--eval-data",
        metavar="[NAME=]DIR",
        help="Records to evaluate on after each checkpoint; may be given again, with names.",
        rich_help_panel=_PANEL,
    ),
]
EVAL_STEPS = Annotated[
    int | None,
    typer.Option(
        "--eval-steps",
        metavar="N",
        min=1,
        help="How many batches of them; all.",
        rich_help_panel=_PANEL,
    ),
]
EXPORT = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        metavar="KIND",
        help="Keep the latest, best (by --best-metric) or final evaluated; may be given again.",
        rich_help_panel=_PANEL,
    ),
]
EARLY_STOPPING = Annotated[
    str | None,
    typer.Option(
        "--early-stopping",
        metavar="METRIC:PATIENCE",
        help="End when METRIC is not better in so many evaluations; NAME/METRIC:N of one NAME.",
        rich_help_panel=_PANEL,
    ),
]


def evaluation_data(given: Sequence[str] | None) -> dict[str, str]:
    """Read --eval-data: name -> folder; the name of one without is empty.

    Raises:
      typer.BadParameter: two have one name.

    >>> evaluation_data(["demo/test", "hard=demo/hard"])
    {'': 'demo/test', 'hard': 'demo/hard'}
    """
    data: dict[str, str] = {}
    for text in given or ():
        before, equals, after = text.partition("=")
        name, folder = (before, after) if equals and "/" not in before else ("", text)
        if name in data:
            raise typer.BadParameter(
                f"--eval-data is given twice {f'as {name}' if name else 'without a name'}; name "
                "each: --eval-data test=DIR.",
                param_hint="'--eval-data'",
            )
        data[name] = folder
    return data


def eval_specs(
    data: Mapping[str, str], steps: int | None, exports: Sequence[str] | None, resolved: Resolved
) -> list[EvalSpec]:
    """Return what is evaluated; exports go by the first, or by that which --best-metric names.

    Args:
      data: name -> folder of records.
      steps: how many batches of each; None: all.
      exports: of `EXPORTS`.
      resolved: says which metric is the best's, and which way it is better.

    Raises:
      typer.BadParameter: there is nothing to export by, or no such export.
      DataError: a folder holds no records.
    """
    from dovetail.data.records import Records
    from dovetail.run.specs import EvalSpec

    for kind in exports or ():
        if kind not in EXPORTS:
            raise typer.BadParameter(
                f"{kind!r} is none of {', '.join(EXPORTS)}.{nearest(kind, EXPORTS)}",
                param_hint="'--export'",
            )
    if not data and (steps is not None or exports):
        what = "--export" if exports else "--eval-steps"
        raise typer.BadParameter(f"{what} is about evaluations: give --eval-data DIR too.")
    for folder in data.values():
        Records(folder)  # a mistake is shown before the training, not after its first checkpoint
    if not data:
        return []
    name, metric = _metric_of(resolved.config.best_metric, data)
    chosen = tuple(_exporter(kind, metric, resolved) for kind in dict.fromkeys(exports or ()))
    return [
        EvalSpec(folder, steps, of or None, exporters=chosen if of == name else ())
        for of, folder in data.items()
    ]


def _metric_of(given: str, data: Mapping[str, str]) -> tuple[str, str]:
    """Part NAME/METRIC; a metric alone is that of the first evaluation."""
    before, slash, after = given.partition("/")
    return (before, after) if slash and before in data else (next(iter(data)), given)


def _exporter(kind: str, metric: str, resolved: Resolved) -> Exporter:
    from dovetail.run.exporters import BestExporter, FinalExporter, LatestExporter

    if kind == "best":
        return BestExporter(metric=metric, best_is=resolved.config.best_is)
    return LatestExporter() if kind == "latest" else FinalExporter()


def early_stopping(given: str | None, data: Mapping[str, str]) -> list[EarlyStopping]:
    """Read --early-stopping as a list of hooks, which is empty where it is not given.

    Raises:
      typer.BadParameter: it can't be read, or there is no such evaluation.
    """
    from dovetail.run.early_stopping import EarlyStopping

    if given is None:
        return []
    hint = "'--early-stopping'"
    which, colon, patience = given.rpartition(":")
    if not colon or not which or not patience.isdigit():
        raise typer.BadParameter(
            f"{given!r} is no METRIC:PATIENCE, such as accuracy:3.", param_hint=hint
        )
    if not data:
        raise typer.BadParameter(
            "it goes by evaluations: give --eval-data DIR too.", param_hint=hint
        )
    name, metric = _metric_of(which, data)
    try:
        return [EarlyStopping(metric, patience=int(patience), name=name or None)]
    except ParamsError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error

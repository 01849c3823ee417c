"""What a pipeline looks like, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dovetail.data.pipeline.batch_steps import Timings
from dovetail.data.pipeline.models import DeclaredModel, Static
from dovetail.data.pipeline.steps import Chance, Step
from dovetail.data.pipeline.variables import Declared

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline


def described(
    pipeline: Pipeline, variables: Mapping[str, Declared], models: Mapping[str, DeclaredModel]
) -> str:
    """Give a table of a pipeline: a line a step, with times if it was run."""
    data = "no data set: a template" if pipeline.dataset is None else repr(pipeline.dataset)
    lines = [f"over     {data}"]
    if pipeline.config:
        lines.append(f"config   {', '.join(map(str, pipeline.config))}")
    if variables:
        lines.append(f"variable {', '.join(variables)}")
    for name, model in models.items():
        kind = "static" if isinstance(model, Static) else "imported"
        lines.append(f"model    {name} ({kind})")
    spent = pipeline.timings_kept.spent
    for number, indent, step in _numbered(pipeline.steps):
        times, seconds = spent.get(id(step), (0, 0.0))
        took = f"   {int(times)} x {seconds / times * 1e3:.3g} ms" if times else ""
        lines.append(f"{number:>4}     {'  ' * indent}{step}{took}")
    return "\n".join(lines)


def timed(steps: tuple[Step, ...], timings: Timings) -> list[dict[str, Any]]:
    """List the steps with how often each was done, and the seconds in all."""
    rows = []
    seen: set[int] = set()
    for _, _, step in _numbered(steps):
        if id(step) in seen:
            continue  # one step that is repeated is counted together
        seen.add(id(step))
        times, seconds = timings.spent.get(id(step), (0, 0.0))
        rows.append({"step": str(step), "times": int(times), "seconds": seconds})
    return rows


def _numbered(steps: tuple[Step, ...]) -> Iterator[tuple[str, int, Step]]:
    for number, step in enumerate(steps, 1):
        yield str(number), 0, step
        if isinstance(step, Chance):
            for _, indent, nested in _numbered(step.steps):
                yield "", indent + 1, nested

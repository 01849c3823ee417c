"""What the commands print: tables and lines on stdout, messages on stderr, values as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO


def say(text: str = "") -> None:
    """Print a line on stdout."""
    print(text)


def say_on_stderr(text: str, *, label: str = "") -> None:
    """Print a message on stderr after a label, which is red (an error) or yellow on a terminal."""
    from rich.text import Text

    style = "bold red" if label == "error:" else "yellow"
    shown = Text.assemble((label, style), " ", text) if label else Text(text)
    _print(shown, sys.stderr)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print rows on stdout with their columns aligned.

    Args:
      columns: headings; where all are empty there is no heading.
      rows: one cell for each column.
      right: the columns of numbers.

    >>> table(["field", "rows"], [["image", 7], ["label", 12]], right=["rows"])
     field   rows
     image      7
     label     12
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=any(columns), header_style="bold", pad_edge=True)
    for name in columns:
        justify = "right" if name in right else "left"
        shown.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    _print(shown, sys.stdout)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON on stdout; what is not finite becomes "NaN" or "Infinity"."""
    say(to_json(value, indent=indent))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that every reader takes.

    >>> to_json({"loss": float("nan"), "step": 3})
    '{"loss": "NaN", "step": 3}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def number(value: object) -> str:
    """Return a number as a person reads it.

    >>> number(0.98123456), number(1437), number([0.5, 1])
    ('0.9812', '1,437', '[0.5, 1]')
    """
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(number(item) for item in value)}]"
    return str(value)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "step"), plural(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def size(count: int) -> str:
    """Return a number of bytes as a person reads it.

    >>> size(512), size(2_500_000)
    ('512 B', '2.5 MB')
    """
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """Return a length of time as a person reads it.

    >>> duration(2.34), duration(75), duration(3725)
    ('2.3 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def shape(sizes: Sequence[int | None]) -> str:
    """Return a shape as it is written: [3, 32, 32]."""
    return f"[{', '.join(str(size) for size in sizes)}]"


def _print(renderable: object, stream: TextIO) -> None:
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 10_000  # a file or a pipe has no edge to fold at
    # Captured and written by us: rich would end the process where nobody reads any more.
    with console.capture() as captured:
        console.print(renderable)
    text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    stream.write(text)
    stream.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value

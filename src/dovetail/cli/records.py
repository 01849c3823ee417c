"""`dovetail records`: checks records, describes or divides them, or shows the first rows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.verb import verb

if TYPE_CHECKING:
    from dovetail.data.records import Records
    from dovetail.data.stats import FieldStats

_SHOWN_CLASSES = 20


class Action(StrEnum):
    """What to do with records."""

    VERIFY = "verify"
    STATS = "stats"
    HEAD = "head"
    SPLIT = "split"


@verb()
def records(
    action: Annotated[
        Action,
        typer.Argument(
            metavar="ACTION",
            help="verify compares every byte with its checksum; stats reads all rows and shows "
            "ranges, means, NaN and counts of classes; head shows the first rows; split writes "
            "parts of them as records.",
        ),
    ],
    path: Annotated[
        str, typer.Argument(metavar="DIR", help="Records, as `dovetail prepare` writes them.")
    ],
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=1, help="How many rows head shows.")
    ] = 5,
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            metavar="NAME=SHARE,...",
            help="The parts that split makes, and their shares: train=0.9,test=0.1.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="DIR", help="Where split makes a folder for each part."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="Rows of one value of this field stay together, in the part that its hash says. "
            "Without, each row's place says it. Either stays so when rows are added.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Which division.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check records, describe their values, divide them, or show the first rows.

    Example:
        dovetail records split demo/records/train --into fit=0.9,tune=0.1 --output demo/parts
    """
    from dovetail.data.records import Records

    if action is Action.SPLIT:
        shares, place = _checked(into, output)
        _split(Records(path), shares, place, by, seed, as_json=as_json)
        return
    for name, value in [("--into", into), ("--output", output), ("--by", by)]:
        if value is not None:
            raise typer.BadParameter(f"it is for split, not for {action}.", param_hint=f"'{name}'")
    opened = Records(path)
    if action is Action.VERIFY:
        _verify(opened, path, as_json=as_json)
    elif action is Action.STATS:
        _stats(opened, as_json=as_json)
    else:
        _head(opened, rows, as_json=as_json)


def shares_of(text: str) -> dict[str, float]:
    """Read the parts and their shares.

    Raises:
      typer.BadParameter: it is no list of them.

    >>> shares_of("train=0.9, test=0.1")
    {'train': 0.9, 'test': 0.1}
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = (word.strip() for word in item.partition("="))
        try:
            known = name in shares
            shares[name] = float(share)
        except ValueError:
            known = True
        if known or not name:
            raise typer.BadParameter(
                f"it takes each part once, as in train=0.9,test=0.1; got '{text}'.",
                param_hint="'--into'",
            )
    return shares


def _checked(into: str | None, output: str | None) -> tuple[dict[str, float], str]:
    if into is None:
        raise typer.BadParameter("say which parts: train=0.9,test=0.1.", param_hint="'--into'")
    if output is None:
        raise typer.BadParameter("say where the parts go: --output DIR.", param_hint="'--output'")
    return shares_of(into), output


def _split(
    opened: Records,
    shares: dict[str, float],
    output: str,
    by: str | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    from dovetail.cli.show import plural, print_json, say
    from dovetail.data.records import Records
    from dovetail.data.split_files import write_split

    written = write_split(opened, output, shares, by=by, seed=seed)
    parts = {name: Records(place) for name, place in written.items()}
    rest = len(opened) - sum(map(len, parts.values()))
    if as_json:
        found = {
            name: {"path": str(written[name]), "rows": len(part), "fingerprint": part.fingerprint}
            for name, part in parts.items()
        }
        print_json({"parts": found, "left_out": rest})
        return
    for name, part in parts.items():
        share = len(part) / max(len(opened), 1)
        say(f"{written[name]}: {plural(len(part), 'record')}, {share:.1%}")
    if rest:
        say(f"{plural(rest, 'record')} in none of them, as the shares say.")


def _verify(opened: Records, path: str, *, as_json: bool) -> None:
    from dovetail.cli.show import plural, print_json, say, size
    from dovetail.data.failures import read_failures, reports

    opened.verify()
    shards, failed = len(opened.manifest.shards), read_failures(path)
    if as_json:
        found = {"rows": len(opened), "shards": shards, "bytes": opened.manifest.bytes}
        left_out = [failure._asdict() for failure in failed]
        print_json({"whole": True, **found, "fingerprint": opened.fingerprint, "failed": left_out})
        return
    say(
        f"{path} is whole: {plural(len(opened), 'record')}, {plural(shards, 'shard')}, "
        f"{size(opened.manifest.bytes)}, every byte as it was written."
    )
    if failed:
        where = " and ".join(file.name for file in reports(path))
        say(f"{plural(len(failed), 'file')} left out when it was made; {where} in it says why.")


def _stats(opened: Records, *, as_json: bool) -> None:
    from dovetail.cli.show import print_json, say, shape, table

    found = opened.stats()
    if as_json:
        print_json([stats.to_dict() for stats in found.values()])
        return
    names = opened.metadata.get("classes")
    table(
        ("field", "dtype", "shape", "least", "most", "mean", "deviation", "NaN", "infinite"),
        [(s.field.name, s.field.dtype, shape(s.field.shape), *_numbers(s)) for s in found.values()],
        right=["least", "most", "mean", "deviation", "NaN", "infinite"],
    )
    for name, stats in found.items():
        if stats.lengths is not None:
            least, most, mean = stats.lengths.least, stats.lengths.most, stats.lengths.mean
            say(f" {name}: lengths from {least:,} to {most:,}, {mean:.4g} on average")
        if stats.classes:
            say(f" {name}: {_classes(stats.classes, names if name.startswith('label') else None)}")


def _numbers(stats: FieldStats) -> list[str]:
    from dovetail.cli.show import number

    if not stats.field.is_numeric:
        return [""] * 6
    known = (stats.minimum, stats.maximum, stats.mean, stats.std)
    shown = ["" if value is None else number(value) for value in known]
    return [*shown, f"{stats.nan:,}", f"{stats.infinite:,}"]


def _classes(counts: Mapping[int | str, int], names: list[str] | None) -> str:
    """Say how often each value comes, the most frequent first."""
    shown: list[str] = []
    for value, count in list(counts.items())[:_SHOWN_CLASSES]:
        known = names is not None and isinstance(value, int) and 0 <= value < len(names)
        text = f"{value} {names[value]}" if known and names and isinstance(value, int) else value
        shown.append(f"{text}: {count:,}")
    more = len(counts) - len(shown)
    said = f"{len(counts):,} values; " if more else ""
    return said + ", ".join(shown) + (f", and {more:,} more" if more else "")


def _head(opened: Records, count: int, *, as_json: bool) -> None:
    from dovetail.cli.inspect_records import shown_value
    from dovetail.cli.show import print_json, table

    names = list(opened.schema)
    first: list[dict[str, Any]] = [
        {name: shown_value(row[name]) for name in names} for row in opened.head(count)
    ]
    if as_json:
        print_json(first)
    else:
        cells = [(number, *(row[name] for name in names)) for number, row in enumerate(first)]
        table(("row", *names), cells, right=["row"])

"""`dovetail status`: how a run stands, alive or ended."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from dovetail.cli.verb import verb

if TYPE_CHECKING:
    from dovetail.run.status import Status


@verb()
def status(
    model_dir: Annotated[
        str, typer.Argument(metavar="MODEL_DIR", help="The model_dir of the run.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how a run stands: alive or ended, how far, how well, and what it has saved.

    Exits with 0 if the run is alive, done, or stopped by a signal with its state saved; with 1 if
    it failed, was killed, or says nothing any more.

    Example:
        dovetail status demo/model
    """
    from dovetail.cli.show import print_json
    from dovetail.run.status import status as status_of

    found = status_of(model_dir)
    if as_json:
        print_json(found.to_dict())
    else:
        show(found)
    if not found.fine:
        raise typer.Exit(1)


def show(found: Status) -> None:
    """Print how a run stands."""
    from dovetail.cli.show import say, table

    say(f"{found.model_dir}: {headline(found)}")
    rows = [(name, value) for name, value in _rows(found) if value]
    if rows:
        table(("", ""), rows)
    if found.standing in ("stopped", "failed", "killed") and found.checkpoint is not None:
        say(f"The same command goes on from step {found.checkpoint.step:,}.")


def headline(found: Status) -> str:
    """Return one line that says whether a run lives, and how it ended if it does not.

    >>> from dovetail.run.status import Status
    >>> headline(Status("run", "failed", why="NanLossError: The loss is nan at step 7."))
    'failed: NanLossError: The loss is nan at step 7.'
    >>> headline(Status("run", "stuck", "training", age_secs=600.0))
    'stuck: alive, but no step has ended for 10 min 0 s'
    """
    from dovetail.cli.show import duration

    ago = "" if found.age_secs is None else duration(found.age_secs)
    at_end = f", {ago} ago" if ago else ""
    if found.standing == "running":
        doing = f"running, {found.doing}" if found.doing else "running, without a heartbeat so far"
        return doing if found.here else f"{doing}, on another machine"
    if found.standing == "stuck":
        return f"stuck: alive, but no step has ended for {ago}"
    if found.standing == "done":
        return f"done ({found.why}){at_end}" if found.why else f"done{at_end}"
    if found.standing == "stopped":
        return f"stopped by {found.why}{at_end}; its state is saved"
    if found.standing == "failed":
        return f"failed{at_end}: {found.why}"
    if found.standing == "killed":
        seen = f"; last seen {ago} ago" if ago else ""
        return f"killed: its process is gone and never said that it ended{seen}"
    if found.standing == "silent":
        return (
            f"silent: no heartbeat for {ago}, and its process can't be looked at from here; "
            "it was probably killed"
        )
    return found.why


def _rows(found: Status) -> list[tuple[str, str]]:
    from dovetail.cli.show import duration, number, plural, size
    from dovetail.run.goodput import line

    rows = [("step", _step(found))]
    rate = []
    if found.steps_per_sec:
        rate.append(f"{number(found.steps_per_sec)} steps/s")
    if found.examples_per_sec:
        rate.append(f"{found.examples_per_sec:,.0f} examples/s")
    rows.append(("rate", ", ".join(rate)))
    rows.append(("left", "" if found.left_secs is None else duration(found.left_secs)))
    rows.append(("loss", "" if found.loss is None else number(found.loss)))
    rows.append(("learning rate", number(found.learning_rate) if found.learning_rate else ""))
    saved = found.checkpoint
    if saved is None:
        rows.append(("checkpoint", "none yet"))
    else:
        state = "whole" if saved.whole else "NOT WHOLE: cut short, changed or not readable"
        kept = f", {plural(saved.count, 'checkpoint')} kept"
        age = duration(saved.age_secs)
        rows.append(("checkpoint", f"step {saved.step:,}, {age} ago, {state}{kept}"))
    for name, last in (found.evaluations or {}).items():
        metrics = [
            f"{key} {number(value)}"
            for key, value in last["metrics"].items()
            if key != "global_step"
        ]
        label = f"evaluation {name}".rstrip()
        rows.append((label, f"step {last['step']:,}: {', '.join(metrics)}"))
    rows.append(("goodput", line(dict(found.goodput)) if found.goodput else ""))
    rows.append(("ran for", "" if found.ran_secs is None else duration(found.ran_secs)))
    if found.process is not None:
        rows.append(("process", f"{found.process.get('pid')} on {found.process.get('host')}"))
    if found.age_secs is not None and found.standing in ("running", "stuck"):
        rows.append(("last heartbeat", f"{duration(found.age_secs)} ago"))
    if found.free_bytes is not None and found.free_bytes < 10**9:
        rows.append(("disk", f"{size(found.free_bytes)} free"))
    rows.append(("command", shlex.join(found.command) if found.command else ""))
    return rows


def _step(found: Status) -> str:
    if found.step is None:
        return ""
    if not found.last_step:
        return f"{found.step:,}"
    share = f"{found.step / found.last_step:.1%}"
    return f"{found.step:,} of {found.last_step:,} ({share})"

"""The command `dovetail`: one verb a file, each imported here and light until it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dovetail.cli.errors import INTERRUPTED
from dovetail.cli.evaluate import evaluate
from dovetail.cli.inspect import inspect
from dovetail.cli.predict import predict
from dovetail.cli.prepare import prepare
from dovetail.cli.records import records
from dovetail.cli.reproduce import reproduce
from dovetail.cli.run import run
from dovetail.cli.status import status
from dovetail.cli.train import train

app = typer.Typer(
    name="dovetail",
    help="Define the model; Dovetail does the rest.",
    epilog="Exit codes: 0 done, 1 a mistake in what was given, 2 wrong usage, 3 a failure that is "
    "not yours, 130 and 143 ended by a signal.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)
for _verb in (prepare, records, train, evaluate, predict, run, inspect, status, reproduce):
    app.command()(_verb)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
      args: its words after `dovetail`; None takes those of this process.

    Returns:
      The exit code.

    >>> main(["--version"])
    dovetail ...
    0
    """
    words = dashed(sys.argv[1:] if args is None else args) or ["--help"]
    try:
        app(args=words, prog_name="dovetail")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def dashed(words: Sequence[str]) -> list[str]:
    """Write the names of long options with dashes: underscores are as good.

    >>> dashed(["train", "my_model.py", "--model_dir=my_run", "--max_steps", "3"])
    ['train', 'my_model.py', '--model-dir=my_run', '--max-steps', '3']
    """
    done: list[str] = []
    for position, word in enumerate(words):
        if word == "--":
            return [*done, *words[position:]]
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            word = f"{name.replace('_', '-')}{equals}{value}"
        done.append(word)
    return done


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"dovetail {version('dovetail')}")
        raise typer.Exit


@app.callback()
def _dovetail(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass

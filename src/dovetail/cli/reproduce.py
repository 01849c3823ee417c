"""`dovetail reproduce`: runs a recorded run again, and compares the parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dovetail.cli.verb import verb


@verb()
def reproduce(
    model_dir: Annotated[
        str, typer.Argument(metavar="MODEL_DIR", help="The folder of a run that was trained.")
    ],
    run: Annotated[
        int | None,
        typer.Option("--run", metavar="N", min=1, help="The number of its record; the last."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="DIR", help="Where to run it; a new folder in results/."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Where its records are now, if moved."),
    ] = None,
    against_checkpoint: Annotated[
        bool,
        typer.Option(
            "--against-checkpoint",
            help="Compare with its checkpoint, optimizer too, not with the recorded sums.",
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="DIR", help="Run nothing: compare with the run in this model_dir."
        ),
    ] = None,
) -> None:
    """Run a recorded run again, and compare the parameters bit for bit.

    Files, params, seed, data and settings are those of its record. The exit code is 0 where all
    is equal, and 1 where it is not.

    Example:
        dovetail reproduce demo/model --output demo/model_again
    """
    from dovetail.cli.settings import new_folder, not_left_empty
    from dovetail.cli.show import say, say_on_stderr
    from dovetail.run import reproduce as reproducing

    if compare is not None:
        if output is not None or data is not None:
            raise typer.BadParameter("--compare runs nothing: leave out --output and --data.")
        comparison = reproducing.compare_with(
            model_dir, compare, run=run, against_checkpoint=against_checkpoint, say=say
        )
    else:
        made = None
        if output is None:
            made = output = str(new_folder(Path("results")))
        with not_left_empty(made):
            comparison = reproducing.reproduce(
                model_dir,
                output,
                run=run,
                data=data,
                against_checkpoint=against_checkpoint,
                say=say,
            )
    if comparison.equal:
        say(comparison.lines()[0])
        return
    say_on_stderr("\n".join(comparison.lines()))
    raise typer.Exit(1)

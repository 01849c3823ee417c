"""`dovetail run`: a params file with model.py and data.py, in any mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dovetail.cli.flags import CHECKPOINT, RUN_FLAGS, SETTINGS, VERBOSE
from dovetail.cli.verb import verb
from dovetail.errors import DovetailError, nearest

MODES = ("train", "eval", "eval_all", "train_and_eval", "predict")
_TRAINS = ("train", "train_and_eval")
_EVALUATES = ("eval", "eval_all", "train_and_eval")


def _files(given: Mapping[str, Any]) -> list[str]:
    """Return model.py and data.py, if they are there: what is missing is said later."""
    from dovetail.run.params_folder import find

    try:
        places = find(given["params"], given["model"], given["data"])
    except DovetailError:
        return []
    return [str(places.model), str(places.data)]


@verb(run_flags=tuple(RUN_FLAGS), files=_files)
def run(
    params: Annotated[
        str, typer.Option("--params", metavar="FILE", help="The YAML or JSON file of all values.")
    ],
    flags: dict[str, Any],
    mode: Annotated[
        str, typer.Option("--mode", metavar="MODE", help=f"{', '.join(MODES)}.")
    ] = "train",
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="How many steps more.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="The step to end at.")
    ] = None,
    eval_steps: Annotated[
        int | None,
        typer.Option("--eval-steps", metavar="N", min=1, help="How many batches; all of them."),
    ] = None,
    checkpoint_path: CHECKPOINT = None,
    validate_only: Annotated[
        bool,
        typer.Option("--validate-only", help="Look at shapes and contracts on a first batch; end."),
    ] = False,
    compile_only: Annotated[
        bool, typer.Option("--compile-only", help="Compile for the device, and end.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FILE", help="model.py above the params file's folder."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="data.py above the params file's folder."),
    ] = None,
    settings: SETTINGS = None,
    verbose: VERBOSE = False,
) -> None:
    """Run a params file: train, evaluate or predict with the model.py and data.py of its folder.

    eval takes the newest checkpoint, eval_all each that is kept.
    predict writes to the folder predict/ in model_dir.
    A value of the file counts unless a flag is given.

    Example:
        dovetail run --params my_model/configs/params.yaml \\
            --mode train_and_eval --max-steps 500
    """
    from dovetail.cli import run_modes
    from dovetail.run import params_folder

    mode = _checked_mode(mode)
    if mode not in _TRAINS and (steps is not None or max_steps is not None):
        raise typer.BadParameter(f"--steps and --max-steps are about training, not --mode {mode}.")
    if steps is not None and max_steps is not None:
        raise typer.BadParameter(
            "give --steps (how many more) or --max-steps (the step to end at)."
        )
    if mode not in _EVALUATES and eval_steps is not None:
        raise typer.BadParameter(f"--eval-steps is about evaluation, not --mode {mode}.")
    if mode not in ("eval", "predict") and checkpoint_path is not None:
        instead = " Weights to begin with: --warm-start-from." if mode in _TRAINS else ""
        raise typer.BadParameter(f"--checkpoint-path is for eval and predict, not {mode}.{instead}")
    if validate_only and compile_only:
        raise typer.BadParameter("give --validate-only or --compile-only, not both.")
    folder = params_folder.read(
        params_folder.find(params, model, data),
        settings=settings or (),
        flags={**flags, "max_steps": max_steps},
    )
    eval_steps = folder.eval_steps if eval_steps is None else eval_steps
    if validate_only or compile_only:
        run_modes.rehearse(folder, mode, compiled=compile_only)
    elif mode in _TRAINS:
        run_modes.train(folder, steps, eval_steps, evaluated=mode != "train", verbose=verbose)
    elif mode == "predict":
        run_modes.predict(folder, checkpoint_path)
    else:
        every = mode == "eval_all"
        run_modes.evaluate(folder, checkpoint_path, eval_steps, every=every, verbose=verbose)


def _checked_mode(given: str) -> str:
    mode = given.replace("-", "_")
    if mode not in MODES:
        raise typer.BadParameter(
            f"{given!r} is none of {', '.join(MODES)}.{nearest(mode, MODES)}",
            param_hint="'--mode'",
        )
    return mode

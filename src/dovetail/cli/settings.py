"""What the commands share: flags for how a run is done, the model, and the values put together."""

from __future__ import annotations

import inspect
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.errors import mistakes_shown
from dovetail.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.run.resolve import Resolved


@dataclass(frozen=True)
class Flag:
    """How a field of RunConfig is given on the command line.

    Attributes:
      type: of the value; a bool is --name or --no-name.
      metavar: what help shows for the value.
      help: one line.
      training_only: whether only `train` has it.
      aliases: other names, with dashes.
    """

    type: type
    metavar: str
    help: str
    training_only: bool = False
    aliases: tuple[str, ...] = ()


RUN_FLAGS: Mapping[str, Flag] = {
    "model_dir": Flag(
        str, "DIR", "Where checkpoints, event logs and the record of the run are kept."
    ),
    "seed": Flag(
        int,
        "N",
        "What initial weights, the order of examples and all randomness come from; 0.",
        aliases=("--tf-random-seed",),
    ),
    "save_summary_steps": Flag(
        int, "N", "Scalars go to the event log every N steps; 100.", training_only=True
    ),
    "save_checkpoints_steps": Flag(int, "N", "A checkpoint every N steps.", training_only=True),
    "save_checkpoints_secs": Flag(
        float, "SECONDS", "A checkpoint after so many seconds; 600.", training_only=True
    ),
    "keep_checkpoint_max": Flag(
        int, "N", "How many of the newest checkpoints are kept; 5. 0 keeps all.", training_only=True
    ),
    "log_step_count_steps": Flag(
        int,
        "N",
        "A line of progress every N steps, where there is no bar; 100.",
        training_only=True,
    ),
    "device": Flag(str, "NAME", "auto (the accelerator there is, else the CPU), cpu, cuda, ..."),
    "precision": Flag(str, "NAME", "fp32; or bf16 for the forward pass."),
    "execution": Flag(str, "NAME", "auto, eager, or compiled (by torch.compile)."),
    "parts": Flag(
        int, "N", "Cut each batch into N parts, which takes less memory; 1.", training_only=True
    ),
    "deterministic": Flag(bool, "", "Use only deterministic algorithms of torch."),
    "prefetch": Flag(int, "N", "How many batches are made ahead of need; 2."),
    "progress": Flag(
        bool, "", "Show progress: a bar on a terminal, lines elsewhere.", training_only=True
    ),
}
"""Every field of RunConfig, in its order."""

_RUN_PANEL, _SWITCHES = "How it runs", "On and off"

MODEL = Annotated[
    str, typer.Argument(metavar="MODEL", help="The Python file that defines the model.")
]
DATA = Annotated[
    str, typer.Option("--data", metavar="DIR", help="Records, as `dovetail prepare` writes them.")
]
PARAMS = Annotated[
    str | None,
    typer.Option("--params", metavar="FILE", help="A YAML or JSON file of hyperparameters."),
]
SETTINGS = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=VALUE", help="One hyperparameter; may be given again and again."
    ),
]
BATCH_SIZE = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", min=1, help="Examples per batch; 32."),
]
CHECKPOINT = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-path", metavar="DIR", help="Which checkpoint; the newest in the model_dir."
    ),
]
VERBOSE = Annotated[
    bool, typer.Option("--verbose", help="Show every value, and where it came from.")
]
_TRACEBACK = Annotated[bool, typer.Option("--traceback", help="Show a mistake with its traceback.")]


def verb(run_flags: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of typer's annotated arguments a command, its mistakes shown.

    Args:
      run_flags: fields of RunConfig that become flags too; the function gets those by name, None
        where not given, as one mapping `flags`.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = [
            p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, p in inspect.signature(function).parameters.items()
            if name != "flags"
        ]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_option(name, RUN_FLAGS[name]),
            )
            for name in run_flags
        ]
        parameters.append(
            inspect.Parameter(
                "traceback", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_TRACEBACK
            )
        )

        def command(**given: Any) -> None:
            show_traceback = given.pop("traceback")
            if run_flags:
                given["flags"] = {name: given.pop(name) for name in run_flags}
            model = given.get("model", given.get("path"))
            with mistakes_shown(model, show_traceback=show_traceback), _importable(model):
                function(**given)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def put_together(
    model: str,
    *,
    params: str | None,
    settings: Sequence[str] | None,
    flags: Mapping[str, Any],
) -> Resolved:
    """Load the definition and put all sources of values together.

    Raises:
      DovetailError: the definition is wrong, or a value is unknown or of the wrong type.
    """
    from dovetail.definition.definition import load
    from dovetail.run.resolve import resolve

    return resolve(
        load(model),
        params_file=None if params is None else Path(params),
        settings=settings or (),
        flags=flags,
    )


def with_new_model_dir(resolved: Resolved) -> Resolved:
    """Give a run that names no model_dir one of its own, made now: `results/<date>_<time>`."""
    return in_model_dir(resolved, new_folder(Path("results")), "default, fixed at launch")


def with_existing_model_dir(resolved: Resolved, checkpoint_path: str | None) -> Resolved:
    """Find the model_dir to read from: the one that is named, or that of the checkpoint.

    Raises:
      DovetailError: there is no such folder.
      typer.BadParameter: none is named.
    """
    named = resolved.config.model_dir
    if named is None and checkpoint_path is not None:
        folder = Path(checkpoint_path).resolve().parents[1]
        return in_model_dir(resolved, folder, "command line --checkpoint-path")
    if named is None:
        raise typer.BadParameter(
            "say which run: --model-dir DIR, or --checkpoint-path DIR.", param_hint="'--model-dir'"
        )
    if not Path(named).is_dir():
        raise DovetailError(
            f"There is no model_dir {named} ({resolved.origins['runconfig.model_dir']}). Train "
            "first, or name the folder of a run."
        )
    return resolved


def in_model_dir(resolved: Resolved, folder: Path, origin: str) -> Resolved:
    """Return the values with another model_dir, and where it came from."""
    return replace(
        resolved,
        config=resolved.config.replace(model_dir=str(folder)),
        origins={**resolved.origins, "runconfig.model_dir": origin},
    )


def new_folder(parent: Path) -> Path:
    """Make a folder named for this moment; two at once get two."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise DovetailError(f"'{parent}' is a file; name another --model-dir.") from None
            number += 1
        except OSError as error:
            raise DovetailError(
                f"The model_dir {folder} can't be made: {error.strerror}. Name another with "
                "--model-dir."
            ) from error
        else:
            return folder


def _option(name: str, flag: Flag) -> Any:
    dashed = name.replace("_", "-")
    switch = flag.type is bool
    names = [f"--{dashed}/--no-{dashed}"] if switch else [f"--{dashed}", *flag.aliases]
    # Switches have two names, for which typer makes a column of its own: they stand apart.
    panel = _SWITCHES if switch else None if name == "model_dir" else _RUN_PANEL
    option = typer.Option(
        *names, help=flag.help, metavar=flag.metavar or None, rich_help_panel=panel
    )
    return Annotated[flag.type | None, option]


@contextmanager
def _importable(model: str | None) -> Iterator[None]:
    """Let the model file import what lies beside it, inside its functions too."""
    if model is None or not Path(model).is_file():
        yield
        return
    folder = str(Path(model).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)

"""What the commands share of typer's arguments, and every setting of a run as a flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer


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
    "keep_checkpoint_every_steps": Flag(
        int, "N", "A checkpoint of a multiple of N steps is kept too.", training_only=True
    ),
    "keep_checkpoint_every_n_hours": Flag(
        float, "HOURS", "One checkpoint in so many hours is kept too.", training_only=True
    ),
    "keep_checkpoint_best": Flag(
        int, "N", "The N best by --best-metric are kept too; 0.", training_only=True
    ),
    "best_metric": Flag(
        str, "NAME", "A metric of the evaluations beside training; loss.", training_only=True
    ),
    "best_is": Flag(
        str, "NAME", "higher or lower; auto (lower for a loss or an error).", training_only=True
    ),
    "log_step_count_steps": Flag(
        int,
        "N",
        "A line of progress every N steps, where there is no bar; 100.",
        training_only=True,
    ),
    "device": Flag(str, "NAME", "auto (the accelerator there is, else the CPU), cpu, cuda, ..."),
    "precision": Flag(str, "NAME", "fp32; or bf16, fp16 for the forward pass."),
    "loss_scale": Flag(
        float, "SCALE", "Of fp16, the same at every step; it adapts.", training_only=True
    ),
    "execution": Flag(str, "NAME", "auto, eager, or compiled (by torch.compile)."),
    "parts": Flag(
        int, "N", "Cut each batch into N parts, which takes less memory; 1.", training_only=True
    ),
    "ema_decay": Flag(
        float,
        "DECAY",
        "Keep averages of the parameters, for evaluation and prediction.",
        training_only=True,
    ),
    "freeze": Flag(
        str, "PATTERNS", "Parameters that are not trained: encoder.*,head.bias", training_only=True
    ),
    "recompute": Flag(
        str,
        "PATTERNS",
        "Modules computed anew in the backward pass, which takes less memory.",
        training_only=True,
    ),
    "warm_start_from": Flag(
        str, "DIR", "A checkpoint whose parameters a new run begins with.", training_only=True
    ),
    "finite_checks": Flag(
        str,
        "NAME",
        "loss; all (every output and gradient, which is slow); or off.",
        training_only=True,
    ),
    "deterministic": Flag(bool, "", "Use only deterministic algorithms of torch."),
    "prefetch": Flag(int, "N", "How many batches are made ahead of need; 2."),
    "unpositioned_input": Flag(
        str,
        "NAME",
        "When resumed, an input without positions is: restart, fast_forward or refuse.",
        training_only=True,
    ),
    "heartbeat_secs": Flag(
        float, "SECONDS", "How often heartbeat.json is written; 10. 0: never.", training_only=True
    ),
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
TRACEBACK = Annotated[bool, typer.Option("--traceback", help="Show a mistake with its traceback.")]


def run_option(name: str) -> Any:
    """Return typer's annotation of a field of RunConfig as a flag; None is "not given"."""
    flag = RUN_FLAGS[name]
    dashed = name.replace("_", "-")
    switch = flag.type is bool
    names = [f"--{dashed}/--no-{dashed}"] if switch else [f"--{dashed}", *flag.aliases]
    # Switches have two names, for which typer makes a column of its own: they stand apart.
    panel = _SWITCHES if switch else None if name == "model_dir" else _RUN_PANEL
    option = typer.Option(
        *names, help=flag.help, metavar=flag.metavar or None, rich_help_panel=panel
    )
    return Annotated[flag.type | None, option]

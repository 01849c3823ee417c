"""The values of a run in one table, each with where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dovetail.run.resolve import Resolved

_FIRST = ("runconfig.model_dir", "max_steps", "epochs", "batch_size")
_ALWAYS = (*_FIRST, "runconfig.seed", "runconfig.device")


def show_values(
    resolved: Resolved, *, training: bool, records: bool = True, verbose: bool = False
) -> None:
    """Print the values on stdout: those that were given and the main ones, or all of them.

    Args:
      resolved: the values.
      training: whether the batch size and the length of training count.
      records: whether it is on records, which end after an epoch; an input_fn ends where it ends.
      verbose: show all, defaults included.
    """
    from dovetail.cli.show import plural, say, table

    rows, left_out = shown_values(resolved, training=training, records=records, verbose=verbose)
    table(("value", "", "from"), rows)
    if left_out:
        say(f" ({plural(left_out, 'more value')} by default: --verbose shows all)")


def shown_values(
    resolved: Resolved, *, training: bool, records: bool = True, verbose: bool
) -> tuple[list[tuple[str, str, str]], int]:
    """Return rows of name, value and origin, and how many values were left out."""
    from dovetail.program.devices import choose_device

    values, origins = resolved.values(), dict(resolved.origins)
    if training:
        if records and resolved.max_steps is None and resolved.epochs is None:
            values["epochs"], origins["epochs"] = 1, "default"
        del values["eval_batch_size"]
    else:
        values["batch_size"] = values.pop("eval_batch_size")
        origins["batch_size"] = origins["eval_batch_size"]
    if values["runconfig.device"] == "auto":
        values["runconfig.device"] = f"auto ({choose_device('auto')})"
    rows, left_out = [], 0
    for name in [*_FIRST, *(name for name in values if name not in _FIRST)]:
        if name in ("max_steps", "epochs") and (values[name] is None or not training):
            continue
        origin = origins.get(name, "default")
        if name.startswith("params.runconfig."):
            continue  # shown as the setting of the run that it is
        if verbose or name in _ALWAYS or origin not in ("default", "definition"):
            rows.append((name.removeprefix("runconfig."), _shown(values[name]), origin))
        else:
            left_out += 1
    return rows, left_out


def _shown(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value)) if value >= 1 else str(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '?')}:{value.__qualname__}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

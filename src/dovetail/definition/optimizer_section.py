"""The optimizer section of a params file: which part is the optimizer's, and which is the run's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.errors import ParamsError, nearest

TYPES = ("optimizer_type", "type", "name")
# Other words for arguments that every optimizer has.
_WORDS = {"max_gradient_norm": "clip_norm", "max_gradient_value": "clip_value"}
_BETAS = ("beta1", "beta2")
# Said beside the optimizer, but how the run is done: key -> field of RunConfig.
_OF_RUN = {"gradient_accumulation_steps": "parts", "precision": "precision"}
_LOSS_SCALE = "loss_scale"
OF_RUN = (*_OF_RUN, _LOSS_SCALE)


def arguments_of(section: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a section's optimizer, and the arguments that it states.

    Args:
      section: see `optimizers.from_params`.

    Raises:
      ParamsError: it is no section, or names no optimizer or two.

    >>> arguments_of({"optimizer_type": "sgd", "learning_rate": 0.1, "max_gradient_norm": 1.0})
    ('sgd', {'learning_rate': 0.1, 'clip_norm': 1.0})
    """
    if not isinstance(section, Mapping):
        raise ParamsError(
            "The optimizer section must hold names with values, such as `optimizer_type: adam` "
            f"and `learning_rate: 0.001`; it is {section!r}."
        )
    kinds = [key for key in TYPES if key in section]
    if len(kinds) != 1 or not isinstance(section[kinds[0]], str):
        found = ", ".join(f"{key}: {section[key]!r}" for key in kinds) or "there is none"
        raise ParamsError(
            f"The optimizer section must say once which optimizer it is ({found}). Write "
            f"`optimizer_type: adam`.{_nearest_of_type(section) if not kinds else ''}"
        )
    arguments: dict[str, Any] = {}
    for key in section:
        if key in TYPES or key in OF_RUN or key in _BETAS:
            continue
        argument = _WORDS.get(key, key)
        if argument in arguments or (argument != key and argument in section):
            raise ParamsError(
                f"The optimizer section has both '{key}' and '{argument}': they are two names of "
                "one value. Keep one of them."
            )
        arguments[argument] = section[key]
    if _BETAS[0] in section or _BETAS[1] in section:
        if "betas" in arguments:
            raise ParamsError(
                "The optimizer section has both 'betas' and 'beta1' or 'beta2'. Keep one of them."
            )
        arguments["betas"] = (section.get(_BETAS[0], 0.9), section.get(_BETAS[1], 0.999))
    return section[kinds[0]], arguments


def other_names(arguments: list[str]) -> list[str]:
    """Return the keys that a section may have for an optimizer with these arguments."""
    names = [name for name in arguments if name != "groups"]
    betas = _BETAS if "betas" in names else ()
    return [*names, *_WORDS, *betas, *OF_RUN, TYPES[0]]


def run_settings(section: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return what an optimizer section says of how the run is done.

    Args:
      section: where `gradient_accumulation_steps: N` cuts each batch into N parts, and
        `precision` is fp32, bf16 or fp16; beside fp16 may stand `loss_scale`, dynamic (the
        default) or a number, the same at every step.

    Returns:
      Field of RunConfig -> (the key that says it, its value).

    Raises:
      ParamsError: the loss scale is text other than dynamic, or the precision needs none.

    >>> run_settings({"optimizer_type": "adam", "gradient_accumulation_steps": 4})
    {'parts': ('gradient_accumulation_steps', 4)}
    """
    scale = section.get(_LOSS_SCALE)
    if isinstance(scale, str) and scale != "dynamic":
        raise ParamsError(f"'{_LOSS_SCALE}' is dynamic, or a number such as 1024; it is {scale!r}.")
    if scale is not None and section.get("precision") != "fp16":
        raise ParamsError(
            f"'{_LOSS_SCALE}' counts with `precision: fp16` only, which the section does not have. "
            "Add it beside, or leave the loss scale out."
        )
    stated = {
        field: (key, section[key]) for key, field in _OF_RUN.items() if section.get(key) is not None
    }
    if scale is not None and scale != "dynamic":
        stated[_LOSS_SCALE] = (_LOSS_SCALE, scale)
    return stated


def _nearest_of_type(section: Mapping[str, Any]) -> str:
    for key in section:
        if nearest(str(key), TYPES):
            return f" There is '{key}'."
    return ""

"""Keys of --set that a params file does not have: misspelt ones are refused, new ones noted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dovetail.errors import ParamsError, nearest
from dovetail.run.config import ALIASES, FIELDS
from dovetail.run.resolve import NOT_OF_CONFIG

OF_RUNCONFIG = (*FIELDS, *ALIASES, *NOT_OF_CONFIG)


def no_setting(key: str) -> str:
    """Return what to say of a key of the section runconfig that is no setting of a run.

    >>> no_setting("max_step")[:75]
    "'runconfig.max_step' is not a setting of a run. Did you mean 'max_steps'? T"
    """
    return (
        f"'runconfig.{key}' is not a setting of a run.{nearest(key, OF_RUNCONFIG)} "
        f"There are: {', '.join(OF_RUNCONFIG)}."
    )


def check_run_settings(keys: Sequence[str]) -> None:
    """Refuse what --set gives as a setting of a run, and is none.

    Args:
      keys: what stands left of "=", "runconfig.seed" say.

    Raises:
      ParamsError: naming the key and the nearest setting.

    >>> check_run_settings(["runconfig.seed", "model.width"])
    """
    for dotted in keys:
        section, _, key = dotted.partition(".")
        if section == "runconfig" and key and key not in OF_RUNCONFIG:
            raise ParamsError(f"command line --set: {no_setting(key)}")


def check_new_key(key: str, stated: Mapping[str, Any]) -> None:
    """Refuse a key that is like one of its untyped section; warn of one that is merely new.

    Args:
      key: what stands left of "=", in a section that no class types.
      stated: what the params file says.

    Raises:
      ParamsError: naming the key and the nearest of the section.

    >>> check_new_key("model.width", {"model": {"width": 3}})
    """
    section: Any = stated
    *parents, last = key.split(".")
    for parent in parents:
        section = section.get(parent) if isinstance(section, Mapping) else None
    names = [*section] if isinstance(section, Mapping) else []
    if last in names:
        return
    near = nearest(last, names)
    lacks = f"command line --set: the params file has no '{key}'"
    if near:
        raise ParamsError(f"{lacks}.{near} If it is meant as a new one, write it in the file.")
    warnings.warn(f"{lacks}: it is new, and does something only if it is read.", stacklevel=4)

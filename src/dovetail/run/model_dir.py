"""Where a run is kept: which folder it is, and that it is there."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from dovetail.errors import DovetailError, ParamsError
from dovetail.run.resolve import Resolved


def with_model_dir(resolved: Resolved, model_dir: str | Path | None) -> Resolved:
    """Settle model_dir: the argument's, the config's, or a temporary one, with a warning.

    Raises:
      ParamsError: the argument and the config of the call name two.
    """
    config = resolved.config
    origin = resolved.origins.get("runconfig.model_dir")
    if model_dir is not None:
        clash = origin == "Python call" and Path(config.model_dir or "") != Path(model_dir)
        if clash:
            raise ParamsError(
                f"model_dir is '{model_dir}' and config.model_dir is '{config.model_dir}'; give "
                "one of them."
            )
        chosen, origin = str(model_dir), "Python call"
    elif config.model_dir is not None:
        return resolved
    else:
        chosen, origin = tempfile.mkdtemp(prefix="dovetail-"), "default"
        warnings.warn(
            f"No model_dir was given, so this run is kept in a temporary one: {chosen}. Give "
            "model_dir to keep it.",
            stacklevel=3,
        )
    return replace(
        resolved,
        config=config.replace(model_dir=chosen),
        origins={**resolved.origins, "runconfig.model_dir": origin},
    )


def make_model_dir(path: str) -> None:
    """Make the folder, if it is not there.

    Raises:
      DovetailError: it can't be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DovetailError(
            f"The model_dir {path} can't be made: {error}. Give yourself permission "
            "there, or name another."
        ) from error

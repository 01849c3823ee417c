"""The device that a name stands for."""

from __future__ import annotations

import torch

from dovetail.errors import DefinitionError


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name stands for; "auto" is the accelerator there is, else the CPU.

    Raises:
      DefinitionError: the name is unknown, or there is no such device here.
    """
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DefinitionError(
            f"device='{device}' can't be used here: {reason} Use 'auto', 'cpu', or a device that "
            "this machine has."
        ) from error
    return chosen

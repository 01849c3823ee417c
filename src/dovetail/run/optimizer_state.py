"""An optimizer's state by parameter name, as checkpoints keep it, and back, bit for bit.

The keys are those of `torch.distributed.checkpoint.state_dict.get_optimizer_state_dict` with
`flatten_optimizer_state_dict=True`: `state.<parameter>.<entry>` and
`param_groups.<parameter>.<setting>`. That function is not used: asked before the first step
it takes a false one to make the state, and the run that goes on from there is another (Adam
counts a step too many, momentum starts with the weight decay). This only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from dovetail.errors import CheckpointError
from dovetail.run.checkpoint import compare_names
from dovetail.run.checkpoint_tensors import encode

_CLASS = "class"
_NOT_SETTINGS = ("params", "param_names")


def optimizer_state(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, object]:
    """Return an optimizer's state with the parameters' names in its keys.

    Settings of a group that are no plain values (functions, objects) are left out: the
    definition makes them again.

    Args:
      network: holds the parameters under their names; a tied one counts under its first.
      optimizer: over parameters of that network.

    Returns:
      The optimizer's own tensors (not copies) and plain values by key, and its class's name.

    Raises:
      CheckpointError: a parameter of the optimizer is not in the network.

    Example:

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> state = optimizer_state(net, torch.optim.SGD(net.parameters(), lr=0.5))
    >>> state["class"], state["param_groups.weight.lr"]
    ('SGD', 0.5)
    """
    flat: dict[str, object] = {_CLASS: type(optimizer).__qualname__}
    plain: dict[int, list[tuple[str, object]]] = {}  # of each group, looked at once
    for name, parameter, group in _named(network, optimizer):
        # optimizer.state is a defaultdict: get() leaves it as it is.
        for key, entry in optimizer.state.get(parameter, {}).items():
            flat[f"state.{name}.{key}"] = entry
        settings = plain.get(id(group))
        if settings is None:
            settings = plain[id(group)] = [
                (key, setting)
                for key, setting in group.items()
                if key not in _NOT_SETTINGS and _is_plain(setting)
            ]
        for key, setting in settings:
            flat[f"param_groups.{name}.{key}"] = setting
    return flat


def restore_optimizer(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, object],
    *,
    settings: bool = True,
) -> None:
    """Put a state from `optimizer_state` into an optimizer of the same class.

    Args:
      network: holds the parameters under the same names.
      optimizer: of the same class over the same parameters, in groups of any kind; what it
        holds is replaced.
      saved: what `optimizer_state` gave; its tensors are copied, to each parameter's device.
      settings: whether groups take over the saved settings as well (learning rate, betas, ...).
        Without it they stay as the optimizer was built, so that a changed definition wins.

    Raises:
      CheckpointError: the state is of another class or of other parameters; nothing is changed.

    Example:

    >>> net = torch.nn.Linear(2, 1)
    >>> old, new = (torch.optim.SGD(net.parameters(), lr=lr) for lr in (0.5, 0.1))
    >>> restore_optimizer(net, new, optimizer_state(net, old))
    >>> new.param_groups[0]["lr"]
    0.5
    """
    kind = type(optimizer).__qualname__
    if saved.get(_CLASS, kind) != kind:
        raise CheckpointError(
            f"The checkpoint holds the state of the optimizer {saved[_CLASS]}, the definition "
            f"has {kind}. Put the optimizer back, or train in another model_dir."
        )
    ours = {name: (parameter, group) for name, parameter, group in _named(network, optimizer)}
    entries, theirs = _by_parameter(saved, "state."), _by_parameter(saved, "param_groups.")
    difference = compare_names(dict.fromkeys(ours, ()), dict.fromkeys({**theirs, **entries}, ()))
    if difference:
        raise CheckpointError(
            "The optimizer's parameters are not those of the checkpoint:\n"
            f"{difference.replace(' ()', '')}\n"
            "Put the definition and freeze back as they were, or begin another run with its "
            "parameters: another model_dir, and warm_start_from."
        )
    changed = _grouped(ours, theirs) if settings else []
    optimizer.state.clear()
    for name, (parameter, group) in ours.items():
        if name in entries:
            # torch's own rule: a step count stays on the CPU unless the update runs captured.
            moved = bool(group.get("capturable") or group.get("fused"))
            optimizer.state[parameter] = {
                key: _copied(entry, parameter.device if key != "step" or moved else None)
                for key, entry in entries[name].items()
            }
    for group, key, setting in changed:
        group[key] = _copied(setting, None)


def _named(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, torch.nn.Parameter, dict[str, object]]]:
    known = {id(parameter): name for name, parameter in network.named_parameters()}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if id(parameter) not in known:
                raise CheckpointError(
                    f"Group {number} of the optimizer {type(optimizer).__name__} updates a "
                    f"parameter of shape {tuple(parameter.shape)} that the network does not "
                    "hold, so it has no name to be saved under. Make it part of the network."
                )
            yield known[id(parameter)], parameter, group


def _grouped(
    ours: Mapping[str, tuple[torch.nn.Parameter, dict[str, object]]],
    theirs: Mapping[str, Mapping[str, object]],
) -> list[tuple[dict[str, object], str, object]]:
    """Settings saved for each parameter as settings of groups: all of a group must agree."""
    found: dict[tuple[int, str], tuple[str, object]] = {}
    changed: list[tuple[dict[str, object], str, object]] = []
    for name, (_, group) in ours.items():
        for key, setting in theirs.get(name, {}).items():
            first, agreed = found.setdefault((id(group), key), (name, setting))
            if first == name:
                changed.append((group, key, setting))
            elif not _equal(setting, agreed):
                raise CheckpointError(
                    f"In the checkpoint {key} of {first} is {agreed}, of {name} {setting}; the "
                    "definition has both in one group. Put its groups back as they were, or "
                    "train in another model_dir."
                )
    return changed


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other


def _by_parameter(saved: Mapping[str, object], kind: str) -> dict[str, dict[str, object]]:
    """Entries by parameter; `param_groups.` tells where a name with dots ends and a key begins."""
    whole = [key[len("param_groups.") :] for key in saved if key.startswith("param_groups.")]
    known = {name.rpartition(".")[0] for name in whole}
    found: dict[str, dict[str, object]] = {}
    for key, entry in saved.items():
        if not key.startswith(kind):
            continue
        name, _, last = key[len(kind) :].rpartition(".")
        while name not in known and "." in name:  # an entry's own key may hold a dot
            name, _, more = name.rpartition(".")
            last = f"{more}.{last}"
        found.setdefault(name, {})[last] = entry
    return found


def _copied(entry: object, device: torch.device | None) -> object:
    if isinstance(entry, torch.Tensor):
        return entry.detach().to(device or entry.device, copy=True)
    if isinstance(entry, list):
        return [_copied(item, device) for item in entry]
    if isinstance(entry, tuple):
        return tuple(_copied(item, device) for item in entry)
    if isinstance(entry, dict):
        return {key: _copied(item, device) for key, item in entry.items()}
    return entry


def _is_plain(setting: object) -> bool:
    try:
        encode("", setting, {})
    except CheckpointError:
        return False
    return True

"""Keras' settings of the process (number type, policy, data format), made the program's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Settings = tuple[Any, ...]
"""floatx, epsilon, image_data_format, and the global dtype policy; None where it is floatx."""

_OF_KERAS: Settings = ("float32", 1e-7, "channels_last", None)
_POLICY = "dtype_policy"


def settings_now() -> Settings | None:
    """Return Keras' settings; None where Keras is not loaded."""
    config = _config()
    if config is None:
        return None
    floatx, policy = config.floatx(), _state().get_global_attribute(_POLICY)
    if policy is not None and policy.name == floatx:
        policy = None  # which Keras makes of floatx when it is first asked for one
    return (floatx, config.epsilon(), config.image_data_format(), policy)


@contextmanager
def settings_set(wanted: Settings) -> Iterator[None]:
    """Let Keras have these settings inside the block."""
    kept = settings_now()
    assert kept is not None
    _set(wanted)
    try:
        yield
    finally:
        _set(kept)


class OwnSettings:
    """The settings that a file gave Keras: they hold for its program, and for no other.

    Attributes:
      settings: as the last block left them; None before, or where Keras is not loaded.

    Example:
      >>> own = OwnSettings()
      >>> with own.held():  # runs a file, say
      ...     pass
    """

    def __init__(self) -> None:
        self.settings: Settings | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put them in place inside the block, note what it makes of them, and put others back."""
        kept = settings_now()
        if kept is not None:
            # A policy that Keras has made of floatx would outlive a change of floatx.
            _set(self.settings or kept)
        try:
            yield
        finally:
            self.settings = settings_now()
            if self.settings is not None:
                _set(kept or _OF_KERAS)


def _set(settings: Settings) -> None:
    config = _config()
    floatx, epsilon, data_format, policy = settings
    if (floatx, epsilon, data_format) != (
        config.floatx(),
        config.epsilon(),
        config.image_data_format(),
    ):
        config.set_floatx(floatx)
        config.set_epsilon(epsilon)
        config.set_image_data_format(data_format)
    _state().set_global_attribute(_POLICY, policy)


def _config() -> Any:
    return getattr(sys.modules.get("keras"), "config", None)


def _state() -> Any:
    # Where Keras keeps the policy: asking for it by its public name makes one.
    return sys.modules["keras.src.backend.common.global_state"]

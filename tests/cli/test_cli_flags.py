from __future__ import annotations

import typing
from typing import Any

import pytest

from dovetail.cli import train as train_module
from dovetail.cli.flags import RUN_FLAGS
from dovetail.errors import DovetailError
from dovetail.run.config import ALIASES, FIELDS, RunConfig
from dovetail.run.warm_start import WarmStart

VALUES = {int: 7, float: 7.5, str: "word", bool: True}


def test_every_field_of_a_run_config_is_a_flag() -> None:
    assert tuple(RUN_FLAGS) == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_has_the_type_of_its_field(name: str) -> None:
    annotation = typing.get_type_hints(RunConfig)[name]
    kinds = {type(a) if isinstance(a, str) else a for a in typing.get_args(annotation)}
    kinds = (kinds or {annotation}) - {type(None), WarmStart}  # the flag takes its path
    # Patterns are given as one word, split at commas.
    kinds = {str} if kinds == {str, ...} else kinds
    assert kinds == {RUN_FLAGS[name].type}


@pytest.fixture
def given(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `train` as far as its flags, and returns those that were given."""

    def given(*words: object) -> dict[str, Any]:
        caught: dict[str, Any] = {}

        def stop(model: str, *, params: object, settings: object, flags: dict[str, Any]) -> None:
            caught.update(flags)
            raise DovetailError("stopped here")

        monkeypatch.setattr(train_module, "put_together", stop)
        assert "stopped here" in run("train", "digits.py", "--data", "d", *words).err
        return {name: value for name, value in caught.items() if value is not None}

    return given


@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_s_value_arrives_in_its_type(given: Any, name: str) -> None:
    flag = RUN_FLAGS[name]
    value = VALUES[flag.type]
    word = f"--{name.replace('_', '-')}"
    words = [word] if flag.type is bool else [word, value]
    assert given(*words) == {name: value}


@pytest.mark.parametrize("name", [name for name in FIELDS if RUN_FLAGS[name].type is bool])
def test_a_switch_can_be_turned_off(given: Any, name: str) -> None:
    assert given(f"--no-{name}") == {name: False}


@pytest.mark.parametrize("alias", ALIASES)
def test_other_names_of_a_field_are_flags_too(given: Any, alias: str) -> None:
    assert given(f"--{alias}", 7) == {ALIASES[alias]: 7}


def test_what_is_not_given_is_not_given(given: Any) -> None:
    assert given() == {}


def test_a_value_of_another_type_is_wrong_usage(run: Any) -> None:
    ran = run("train", "digits.py", "--data", "d", "--seed", "seven")
    assert ran.code == 2
    assert "--seed" in ran.err
    assert "integer" in ran.err

"""RunConfig: what was given is known, and what is wrong is refused with its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dovetail.errors import ParamsError
from dovetail.run.config import FIELDS, RunConfig


def test_defaults_are_those_of_the_reference():
    config = RunConfig()
    assert config.to_dict() == {
        "model_dir": None,
        "seed": 0,
        "save_summary_steps": 100,
        "save_checkpoints_steps": None,
        "save_checkpoints_secs": 600.0,
        "keep_checkpoint_max": 5,
        "keep_checkpoint_every_steps": None,
        "keep_checkpoint_every_n_hours": None,
        "keep_checkpoint_best": 0,
        "best_metric": "loss",
        "best_is": "auto",
        "log_step_count_steps": 100,
        "device": "auto",
        "precision": "fp32",
        "loss_scale": None,
        "execution": "auto",
        "parts": 1,
        "ema_decay": None,
        "freeze": (),
        "recompute": (),
        "warm_start_from": None,
        "finite_checks": "loss",
        "deterministic": False,
        "prefetch": 2,
        "unpositioned_input": "restart",
        "heartbeat_secs": 10.0,
        "progress": True,
    }
    assert config.given == frozenset()
    assert tuple(config.to_dict()) == FIELDS


def test_what_was_given_is_known_even_if_it_equals_the_default():
    config = RunConfig(seed=0, parts=2)
    assert config.given_values() == {"seed": 0, "parts": 2}


def test_configs_are_equal_by_value():
    assert RunConfig(seed=0) == RunConfig()
    assert RunConfig(seed=1) != RunConfig()


def test_paths_and_numpy_numbers_become_plain_values(tmp_path: Path):
    config = RunConfig(tmp_path, seed=np.int64(3), save_checkpoints_secs=np.float32(2))
    assert (config.model_dir, config.seed, config.save_checkpoints_secs) == (str(tmp_path), 3, 2.0)
    assert type(config.seed) is int
    assert type(config.save_checkpoints_secs) is float


def test_saving_by_steps_replaces_saving_by_time():
    assert RunConfig(save_checkpoints_steps=3).save_checkpoints_secs is None
    by_time = RunConfig(save_checkpoints_steps=3).replace(save_checkpoints_secs=5)
    assert (by_time.save_checkpoints_steps, by_time.save_checkpoints_secs) == (None, 5.0)
    by_steps = by_time.replace(save_checkpoints_steps=7)
    assert (by_steps.save_checkpoints_steps, by_steps.save_checkpoints_secs) == (7, None)


def test_tf_random_seed_is_the_seed():
    assert RunConfig(tf_random_seed=4).seed == 4
    assert RunConfig(seed=1).replace(tf_random_seed=4).seed == 4
    assert RunConfig(tf_random_seed=4, seed=4).seed == 4
    with pytest.raises(ParamsError, match="seed=1 and tf_random_seed=2"):
        RunConfig(seed=1, tf_random_seed=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 1.5}, "seed must be of type int; it is 1.5, a float"),
        ({"seed": True}, "seed must be of type int"),
        ({"seed": 2**70}, "must fit into 64 bits"),
        ({"progress": 1}, "progress must be of type bool"),
        ({"deterministic": "yes"}, "deterministic must be of type bool; it is 'yes'"),
        ({"save_checkpoints_steps": 0}, "save_checkpoints_steps=0; it must be at least 1"),
        ({"save_checkpoints_secs": -1}, "save_checkpoints_secs=-1.0; it must be more than 0"),
        ({"save_checkpoints_secs": float("nan")}, "more than 0 seconds"),
        ({"keep_checkpoint_max": -1}, "keep_checkpoint_max=-1; it must be at least 0"),
        ({"parts": 0}, "parts=0; it must be at least 1"),
        ({"precision": "fp8"}, "precision='fp8'; it must be one of 'fp32', 'bf16'"),
        ({"execution": "compile"}, "Did you mean 'compiled'"),
        ({"save_checkpoints_steps": 1, "save_checkpoints_secs": 1}, "give one of them"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, object], message: str):
    with pytest.raises(ParamsError, match=message):
        RunConfig(**values)


def test_an_unknown_key_of_a_params_file_is_refused_with_the_nearest():
    with pytest.raises(ParamsError, match="runconfig.save_sumary_steps .* mean 'save_summary_"):
        RunConfig.from_dict({"save_sumary_steps": 3})
    assert RunConfig.from_dict({"save_summary_steps": 3}).save_summary_steps == 3

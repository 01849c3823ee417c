"""Configs of modelers: layered, frozen, and checked when they are made."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from dovetail import optimizers
from dovetail.definition.modeler_config import (
    ModelerConfig,
    TaskConfig,
    in_mode,
    layers_of,
    values_of,
    with_values,
)
from dovetail.errors import ParamsError


@dataclass(frozen=True)
class StyleConfig(TaskConfig):
    modeler_config: ModelerConfig | TaskConfig
    style_weight: float = 1.0


@dataclass(frozen=True)
class VideoConfig(TaskConfig):
    modeler_config: ModelerConfig | TaskConfig
    frames: int = 8


def base(**values: Any) -> ModelerConfig:
    return ModelerConfig(**{"optimizer": "momentum", "learning_rate": 0.1, **values})


def test_a_task_s_config_has_what_it_wraps_at_any_depth():
    config = VideoConfig(StyleConfig(base(batch_size_per_gpu=4, gpu_count=2), 0.5), frames=3)
    assert (config.mode, config.style_weight, config.frames) == ("train", 0.5, 3)
    assert config.batch_size == 8
    assert [type(layer).__name__ for layer in layers_of(config)] == [
        "VideoConfig",
        "StyleConfig",
        "ModelerConfig",
    ]
    assert copy.deepcopy(config) == config == pickle.loads(pickle.dumps(config))


def test_a_name_that_no_layer_has_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match=r"Did you mean 'style_weight'"):
        _ = VideoConfig(StyleConfig(base())).style_wieght
    with pytest.raises(ParamsError, match=r"no 'learning_rte'.*Did you mean"):
        with_values(StyleConfig(base()), {"learning_rte": 0.1})


def test_values_are_replaced_in_the_layer_that_has_them():
    config = VideoConfig(StyleConfig(base()), frames=3)
    changed = with_values(config, {"style_weight": 2.0, "learning_rate": 0.3, "frames": 5})
    assert values_of(changed) == values_of(config) | {
        "style_weight": 2.0,
        "learning_rate": 0.3,
        "frames": 5,
    }
    assert "mode" not in values_of(config)
    assert config.learning_rate == 0.1  # the given one is as it was


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        base().mode = "eval"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_s_mode_drops_what_only_training_uses():
    config = base(trainable_vars=["head"], pretrained_model="old", skip_pretrained_vars="head")
    evaluated = in_mode(StyleConfig(config), "eval")
    assert evaluated.mode == "eval"
    assert evaluated.trainable_vars is None
    assert evaluated.pretrained_model is None
    assert in_mode(evaluated, "train").learning_rate == 0.1


def test_texts_with_commas_are_lists():
    config = base(
        piecewise_boundaries="50,75",
        piecewise_learning_rate_decay="1, 0.1, 0.01",
        trainable_vars="conv2d*, logits",
    )
    assert config.piecewise_boundaries == (50.0, 75.0)
    assert config.piecewise_learning_rate_decay == (1.0, 0.1, 0.01)
    assert config.trainable_vars == ("conv2d*", "logits")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "trian"}, r"mode='trian'.*Did you mean 'train'"),
        ({"mode": "tune"}, r"trials are many runs"),
        ({"mode": "export"}, r"mode='infer'"),
        ({"batch_size_per_gpu": 0}, r"batch_size_per_gpu=0.*at least 1"),
        ({"gpu_count": 0}, r"gpu_count=0.*device='cpu'"),
        ({"gpu_count": True}, r"gpu_count=True"),
        ({"num_examples": 0}, r"num_examples=0"),
        ({"optimizer": "momentun"}, r"no optimizer 'momentun'.*Did you mean 'momentum'"),
        ({"optimizer": 3}, r"it is 3, an int"),
        ({"learning_rate": None}, r"needs a learning_rate"),
        ({"learning_rate": "fast"}, r"learning_rate='fast'"),
        ({"learning_rate": -1.0}, r"learning_rate=-1.0"),
        ({"optimizer": optimizers.SGD(0.5)}, r"the optimizer has its own, 0.5"),
        ({"l2_weight_decay": -1}, r"l2_weight_decay=-1"),
        ({"piecewise_boundaries": [5]}, r"without piecewise_learning_rate_decay"),
        ({"piecewise_learning_rate_decay": [5]}, r"without piecewise_boundaries"),
        ({"skip_l2_loss_vars": ["bias"]}, r"without l2_weight_decay"),
        ({"skip_pretrained_vars": ["bias"]}, r"without pretrained_model"),
        ({"trainable_vars": 3}, r"trainable_vars=3; it must be a list of names"),
        ({"trainable_vars": [3]}, r"trainable_vars=\[3\]"),
        ({"mode": "eval", "trainable_vars": ["x"]}, r"is for training, and mode is 'eval'"),
        ({"mode": "infer", "pretrained_model": "x"}, r"is for training, and mode is 'infer'"),
        (
            {"piecewise_boundaries": "a", "piecewise_learning_rate_decay": "1,2"},
            r"'a', which is no number",
        ),
        (
            {"piecewise_boundaries": [5, 5], "piecewise_learning_rate_decay": [1, 1, 1]},
            r"must rise",
        ),
        (
            {"piecewise_boundaries": [5], "piecewise_learning_rate_decay": [1]},
            r"1 boundaries need 2",
        ),
        (
            {
                "piecewise_boundaries": [5],
                "piecewise_learning_rate_decay": [1, 2],
                "learning_rate": optimizers.schedules.Constant(0.1),
            },
            r"must be a number then",
        ),
    ],
)
def test_what_is_wrong_can_t_be_made(values: dict[str, Any], message: str):
    with pytest.raises(ParamsError, match=message):
        base(**values)


def test_what_wraps_no_modeler_config_is_refused():
    with pytest.raises(ParamsError, match="innermost config must be a ModelerConfig"):
        layers_of(StyleConfig("train"))  # pyright: ignore[reportArgumentType]

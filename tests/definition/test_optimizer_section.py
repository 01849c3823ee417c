"""The optimizer section of a params file: what it makes, and what it refuses."""

import math

import pytest
import torch

from dovetail import optimizers
from dovetail.definition.hparams import HParams
from dovetail.definition.optimizer_section import run_settings
from dovetail.definition.optimizers import from_params
from dovetail.errors import DefinitionError, ParamsError

LINEAR = {"scheduler": "Linear", "initial_learning_rate": 0.0, "end_learning_rate": 1.0, "steps": 4}
COSINE = {"scheduler": "Cosine", "initial_learning_rate": 1.0, "decay_steps": 10}


@pytest.mark.parametrize(
    ("section", "same"),
    [
        ({"optimizer_type": "SGD", "learning_rate": 0.1}, optimizers.SGD(0.1)),
        (
            {"type": "momentum", "learning_rate": 0.1, "momentum": 0.8},
            optimizers.Momentum(0.1, 0.8),
        ),
        ({"name": "adam", "beta1": 0.5}, optimizers.Adam(betas=(0.5, 0.999))),
        ({"type": "adamw", "weight_decay": 0.3}, optimizers.AdamW(weight_decay=0.3)),
        ({"type": "rmsprop", "max_gradient_value": 2.0}, optimizers.RMSProp(clip_value=2.0)),
        ({"type": "adam", "clip_norm": 2.0}, optimizers.Adam(clip_norm=2.0)),
    ],
)
def test_a_section_is_the_description_written_by_hand(section, same):
    assert from_params(section) == same
    assert from_params(HParams(**section)) == same


def test_a_list_of_schedules_resets_the_step_for_each_part():
    rate = from_params({"type": "adam", "learning_rate": [LINEAR, COSINE]}).learning_rate
    cosine = [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(11)]
    assert [rate(step) for step in range(15)] == pytest.approx([0, 0.25, 0.5, 0.75, *cosine])


def test_one_schedule_is_a_mapping():
    section = HParams(type="sgd", learning_rate=COSINE)
    assert from_params(section).learning_rate == optimizers.schedules.Cosine(1.0, 10)


def test_what_is_the_runs_is_no_argument_of_the_optimizer():
    section = {"type": "adam", "gradient_accumulation_steps": 4, "precision": "fp16"}
    assert from_params({**section, "loss_scale": "dynamic"}) == optimizers.Adam()
    assert run_settings(section) == {
        "parts": ("gradient_accumulation_steps", 4),
        "precision": ("precision", "fp16"),
    }
    constant = run_settings({"precision": "fp16", "loss_scale": 128})
    assert constant["loss_scale"] == ("loss_scale", 128)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"learning_rate": 0.1}, "optimizer_type: adam"),
        ({"optimiser_type": "adam"}, "There is 'optimiser_type'"),
        ({"type": "adam", "name": "sgd"}, "must say once"),
        ({"type": "adm"}, "Did you mean 'adam'"),
        ({"type": "adam", "learning_rte": 1}, "Did you mean 'learning_rate'"),
        ({"type": "adam", "groups": []}, "no key 'groups'"),
        ({"type": "sgd", "beta1": 0.9, "learning_rate": 1.0}, "no key 'betas'"),
        ({"type": "adam", "betas": [0.9, 0.99], "beta1": 0.9}, "Keep one"),
        ({"type": "adam", "clip_norm": 1.0, "max_gradient_norm": 1.0}, "two names of one value"),
        ({"type": "adam", "learning_rate": {"scheduler": "Cosin"}}, "Did you mean 'cosine'"),
        ({"type": "adam", "learning_rate": [COSINE, COSINE]}, "has no 'steps'"),
        ("adam", "must hold names with values"),
    ],
)
def test_what_is_unknown_or_doubled_is_refused(section, says):
    with pytest.raises(ParamsError, match=says):
        from_params(section)


def test_clipping_by_norm_and_by_value_is_refused():
    with pytest.raises(DefinitionError, match="drop the other"):
        from_params({"type": "adam", "max_gradient_norm": 1.0, "max_gradient_value": 1.0})


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"precision": "fp16", "loss_scale": "fixed"}, "is dynamic, or a number"),
        ({"precision": "bf16", "loss_scale": "dynamic"}, "with `precision: fp16` only"),
    ],
)
def test_a_loss_scale_that_would_do_nothing_is_refused(section, says):
    with pytest.raises(ParamsError, match=says):
        run_settings(section)


def test_it_may_be_read_inside_a_compiled_model_fn():
    params = HParams(optimizer={"type": "adam", "learning_rate": [LINEAR, COSINE], "beta1": 0.5})

    def model_fn(x):
        loss = (2 * x).sum()
        return from_params(params.optimizer).minimize(loss).loss

    compiled = torch.compile(model_fn, fullgraph=True, backend="eager")
    assert float(compiled(torch.ones(3))) == 6.0

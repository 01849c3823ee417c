"""Translated optimizers against Keras' own updates, step by step."""

import copy

import keras
import numpy as np
import pytest
import torch
from keras import optimizers as kopt
from keras.optimizers import schedules
from torch import nn

from dovetail.definition.optimizers import as_description, clip_gradients, set_learning_rates

# Keras' own Nadam calls numpy in a way that numpy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS = 60
SHAPES = {"small.kernel": (4, 3), "small.bias": (3,), "large.kernel": (3, 2), "large.bias": (2,)}
# Sizes of the gradients, by parameter and entry.
SIZES = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]


@pytest.fixture(params=["float64", "float32"])
def floatx(request):
    """Keras computes, rates included, in this type."""
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


def starts():
    generator = np.random.default_rng(3)
    return {name: generator.normal(size=shape) for name, shape in SHAPES.items()}


def gradients(steps=STEPS):
    """Of one step after the other: every size, signs and ratios that change."""
    generator = np.random.default_rng(5)
    found = []
    for _ in range(steps):
        of_step, position = {}, 0
        for name, shape in SHAPES.items():
            count = int(np.prod(shape))
            sizes = np.array([SIZES[(position + i) % len(SIZES)] for i in range(count)])
            of_step[name] = generator.normal(size=shape) * sizes.reshape(shape)
            position += count
        found.append(of_step)
    return found


def by_keras(optimizer, floatx, steps=STEPS):
    """The parameters after each step of Keras' own."""
    variables = {}
    for name, start in starts().items():
        layer, own = name.split(".")
        with keras.name_scope(layer):
            variables[name] = keras.Variable(start, dtype=floatx, name=own)
    after = []
    for of_step in gradients(steps):
        given = [torch.tensor(of_step[name], dtype=getattr(torch, floatx)) for name in variables]
        optimizer.apply(given, list(variables.values()))
        after.append({n: v.value.detach().numpy().copy() for n, v in variables.items()})
    return after


class Ours:
    """Parameters and what a description makes of them, stepped as a program does."""

    def __init__(self, description, floatx):
        self.description = description
        self.parameters = {
            name: nn.Parameter(torch.tensor(start, dtype=getattr(torch, floatx)))
            for name, start in starts().items()
        }
        self.torch = description.build(self.parameters.items())

    def step(self, of_step, step):
        for name, parameter in self.parameters.items():
            parameter.grad = None
            if name in of_step:
                parameter.grad = torch.tensor(of_step[name], dtype=parameter.dtype)
        clip_gradients(self.description, self.parameters.values())
        set_learning_rates(self.description, self.torch, step)
        self.torch.step()
        return {name: p.detach().numpy().copy() for name, p in self.parameters.items()}


def assert_alike(ours, theirs, floatx, share=1e-9):
    """Compare every entry after every step, by a share of the way that it has gone so far."""
    before, gone = starts(), dict.fromkeys(SHAPES, 0.0)
    for step, (mine, keras_own) in enumerate(zip(ours, theirs, strict=True)):
        for name in SHAPES:
            gone[name] += np.abs(keras_own[name] - before[name])
            allowed = share * gone[name] + 1e-14
            if floatx == "float32":
                allowed = 2e-5 * gone[name] + 2e-6
            off = np.abs(mine[name] - keras_own[name]) - allowed
            assert (off <= 0).all(), f"{name} is off by {off.max()} more than allowed at {step}"
        before = keras_own


RATE = schedules.ExponentialDecay(0.05, 7, 0.6)
CASES = {
    "sgd": lambda: kopt.SGD(0.1),
    "sgd, decay": lambda: kopt.SGD(0.1, weight_decay=0.02),
    "sgd, scheduled momentum": lambda: kopt.SGD(RATE, momentum=0.9),
    "sgd, scheduled nesterov, decay": lambda: kopt.SGD(
        RATE, momentum=0.8, nesterov=True, weight_decay=0.05
    ),
    "sgd, clipnorm": lambda: kopt.SGD(0.1, clipnorm=0.3),
    "sgd, clipvalue": lambda: kopt.SGD(0.1, clipvalue=0.2),
    "sgd, global_clipnorm": lambda: kopt.SGD(0.1, global_clipnorm=1e-4),
    "adam": lambda: kopt.Adam(0.01),
    "adam, amsgrad, schedule": lambda: kopt.Adam(
        RATE, beta_1=0.8, beta_2=0.95, epsilon=1e-5, amsgrad=True
    ),
    "adam, clipnorm": lambda: kopt.Adam(0.01, clipnorm=0.05),
    "adam, global_clipnorm": lambda: kopt.Adam(0.01, global_clipnorm=0.5),
    "adam, clipvalue": lambda: kopt.Adam(0.01, clipvalue=0.01),
    "adamw": lambda: kopt.AdamW(RATE, weight_decay=0.1),
    "adamw, amsgrad, clipnorm": lambda: kopt.AdamW(0.01, amsgrad=True, clipnorm=1.0),
    "rmsprop": lambda: kopt.RMSprop(0.01),
    "rmsprop, momentum": lambda: kopt.RMSprop(RATE, rho=0.8, momentum=0.7, weight_decay=0.01),
    "rmsprop, centered": lambda: kopt.RMSprop(0.01, centered=True, epsilon=1e-4),
    "rmsprop, all, clipnorm": lambda: kopt.RMSprop(RATE, centered=True, momentum=0.5, clipnorm=0.5),
    "adagrad": lambda: kopt.Adagrad(0.1),
    "adagrad, from 0, decay": lambda: kopt.Adagrad(
        RATE, initial_accumulator_value=0.0, weight_decay=0.1
    ),
    "adadelta": lambda: kopt.Adadelta(1.0),
    "adadelta, decay, clipnorm": lambda: kopt.Adadelta(RATE, weight_decay=0.1, clipnorm=1.0),
    "adamax": lambda: kopt.Adamax(0.01),
    "adamax, schedule, decay": lambda: kopt.Adamax(RATE, beta_1=0.7, beta_2=0.9, weight_decay=0.1),
    "nadam": lambda: kopt.Nadam(0.01),
    "nadam, schedule, decay": lambda: kopt.Nadam(RATE, beta_1=0.8, weight_decay=0.1),
    "ftrl": lambda: kopt.Ftrl(0.1),
    "ftrl, all": lambda: kopt.Ftrl(
        RATE,
        learning_rate_power=-0.7,
        initial_accumulator_value=0.2,
        l1_regularization_strength=0.01,
        l2_regularization_strength=0.02,
        l2_shrinkage_regularization_strength=0.03,
        beta=0.4,
    ),
    "lion": lambda: kopt.Lion(0.001),
    "lion, schedule, decay": lambda: kopt.Lion(RATE, beta_1=0.8, beta_2=0.9, weight_decay=0.1),
    "lamb": lambda: kopt.Lamb(0.01),
    "adafactor": lambda: kopt.Adafactor(0.01),
    "adafactor, schedule, decay": lambda: kopt.Adafactor(
        RATE, beta_2_decay=-0.6, clip_threshold=0.5, relative_step=False, weight_decay=0.1
    ),
    "muon": lambda: kopt.Muon(0.01),
    "muon, schedule, other decay, all": lambda: kopt.Muon(
        RATE,
        adam_weight_decay=0.1,
        weight_decay=0.3,
        adam_lr_ratio=0.5,
        momentum=0.8,
        ns_steps=3,
        nesterov=False,
        rms_rate=None,
        clipnorm=0.5,
        exclude_layers=["large/kern"],
    ),
    "lamb, schedule, decay": lambda: kopt.Lamb(RATE, weight_decay=0.1),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_keras(case, floatx):
    optimizer = CASES[case]()
    ours = Ours(as_description(optimizer), floatx)
    mine = [ours.step(of_step, step) for step, of_step in enumerate(gradients())]
    # Keras takes some scalars in float32, whatever the parameters are: norms, Adafactor's means,
    # Muon's roots.
    rounded = "norm" in case or "adafactor" in case or "muon" in case
    share = 1e-6 if rounded else 1e-9
    assert_alike(mine, by_keras(optimizer, floatx), floatx, share)


@pytest.mark.parametrize("case", [name for name in CASES if "," in name])
def test_a_run_that_goes_on_from_its_state_ends_like_one_that_did_not_stop(case):
    description = as_description(CASES[case]())
    whole = Ours(description, "float32")
    half = STEPS // 2
    for step, of_step in enumerate(gradients()[:half]):
        whole.step(of_step, step)
    resumed = Ours(description, "float32")
    for name, parameter in resumed.parameters.items():
        parameter.data.copy_(whole.parameters[name].data)
    resumed.torch.load_state_dict(copy.deepcopy(whole.torch.state_dict()))
    for step, of_step in enumerate(gradients()[half:], half):
        after, again = whole.step(of_step, step), resumed.step(of_step, step)
    for name in SHAPES:
        np.testing.assert_array_equal(after[name], again[name])


@pytest.mark.parametrize("case", ["adam", "nadam", "adamax", "adamw", "sgd, clipnorm"])
def test_steps_without_a_gradient_count_as_in_keras(case):
    optimizer = CASES[case]()
    ours = Ours(as_description(optimizer), "float32")
    variables = {n: keras.Variable(start, name="w") for n, start in starts().items()}
    for step, of_step in enumerate(gradients(10)):
        if step % 3 == 1:
            del of_step["large.kernel"]
        mine = ours.step(of_step, step)
        optimizer.build(list(variables.values()))
        known = [n for n in variables if n in of_step]
        given = [torch.tensor(of_step[n], dtype=torch.float32) for n in known]
        optimizer.apply(given, [variables[n] for n in known])
    for name, variable in variables.items():
        np.testing.assert_allclose(mine[name], variable.value.detach().numpy(), rtol=2e-5)


def test_a_parameter_that_joins_later_counts_its_own_steps():
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    description = as_description(kopt.Adam(0.1))
    optimizer = description.build([("first", first), ("second", second)])
    alone = description.build([("second", second)])
    for _ in range(5):
        first.grad, second.grad = torch.ones(2), None
        optimizer.step()
    optimizer.state[second].clear()
    second.grad = torch.ones(2)
    optimizer.step()
    joined = second.detach().clone()
    with torch.no_grad():
        second.zero_()
    alone.step()
    assert torch.equal(joined, second)
    assert optimizer.state[first]["step"] == 6


def test_weight_decay_leaves_out_what_the_keras_optimizer_excludes(floatx):
    optimizer = kopt.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    description = as_description(optimizer)
    ours = Ours(description, floatx)
    assert [group["weight_decay"] for group in ours.torch.param_groups] == [0.5, 0.0]
    mine = [ours.step(of_step, step) for step, of_step in enumerate(gradients())]
    assert_alike(mine, by_keras(optimizer, floatx), floatx)


def test_a_variance_that_rounding_makes_negative_does_not_end_in_nan():
    ours = Ours(as_description(kopt.RMSprop(0.01, centered=True, epsilon=1e-12)), "float32")
    for step in range(400):
        after = ours.step({name: np.full(shape, 7.7) for name, shape in SHAPES.items()}, step)
    assert all(np.isfinite(value).all() for value in after.values())


def test_sparse_gradients_are_refused():
    weight = nn.Parameter(torch.ones(2))
    optimizer = as_description(kopt.Adam()).build([("w", weight)])
    weight.grad = torch.ones(2).to_sparse()
    with pytest.raises(RuntimeError, match="KerasAdam takes dense gradients"):
        optimizer.step()


def test_a_closure_gives_its_loss():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = as_description(kopt.Adam(0.1)).build([("w", weight)])

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert weight.item() < 1.0

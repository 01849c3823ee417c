"""Keras optimizers as descriptions: what they become, what is refused, and how they run."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import torch
from keras import optimizers as kopt

import dovetail
from dovetail import layers, optimizers
from dovetail.definition.keras.kinds import KINDS, KerasFtrl, KerasLion, KerasRMSprop, KerasSGD
from dovetail.definition.keras.kinds_adam import KerasAdam, KerasMuon
from dovetail.definition.keras.optimizers import Undecayed
from dovetail.definition.optimizers import SGD, Adadelta, as_description, note_cure, schedules
from dovetail.errors import DefinitionError

# Keras' own Nadam calls numpy in a way that numpy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("given", "description"),
    [
        (kopt.SGD(0.1), SGD(0.1)),
        (kopt.SGD(0.1, nesterov=True, clipvalue=0.5), SGD(0.1, clip_value=0.5)),
        (kopt.SGD(0.1, weight_decay=0.2), KerasSGD(0.1, weight_decay=0.2)),
        (kopt.SGD(0.1, global_clipnorm=2.0), KerasSGD(0.1, clip_norm=2.0)),
        (kopt.SGD(0.1, 0.9, nesterov=True), KerasSGD(0.1, 0.9, nesterov=True)),
        (kopt.Adam(), KerasAdam()),
        (kopt.AdamW(3e-4), KerasAdam(3e-4, weight_decay=0.004)),
        (kopt.Adam(clipnorm=1.0), KerasAdam(clip_each=1.0)),
        (kopt.Adam(clipnorm=0.0), KerasAdam()),
        (kopt.Adadelta(0.7), Adadelta(0.7, rho=0.95, eps=1e-7)),
        (kopt.RMSprop(momentum=0.5), KerasRMSprop(momentum=0.5)),
        (kopt.Ftrl(0.1, beta=np.float32(0.5)), KerasFtrl(0.1, beta=0.5)),
        (kopt.Lion(beta_2=0.98), KerasLion(beta_2=0.98)),
        (
            kopt.Muon(exclude_layers=["head"], weight_decay=None, adam_weight_decay=None),
            KerasMuon(exclude_layers=("head",), weight_decay=0.0, adam_weight_decay=0.0),
        ),
    ],
    ids=repr,
)
def test_an_optimizer_becomes_a_description(given, description):
    assert as_description(given) == description


@pytest.mark.parametrize("name", KINDS)
def test_defaults_are_those_of_keras(name):
    # The smallest decay keeps SGD and Adadelta from becoming torch's.
    assert as_description(getattr(kopt, name)(weight_decay=1e-9)) == KINDS[name](weight_decay=1e-9)


def test_the_learning_rate_is_the_number_that_was_written():
    for rate in (0.1, 3e-4, 1e-3, 0.02, 1 / 3):
        found = as_description(kopt.SGD(rate)).learning_rate
        assert found == pytest.approx(rate, rel=1e-7)
        assert np.float32(found) == np.float32(rate)
    assert as_description(kopt.SGD(3e-4)).learning_rate == 3e-4


def test_two_translations_are_equal_and_a_rate_set_since_counts():
    given = kopt.Adam(0.1)
    assert as_description(given) == as_description(given) == as_description(kopt.Adam(0.1))
    assert hash(as_description(given)) == hash(as_description(given))
    given.learning_rate = 0.25
    assert as_description(given).learning_rate == 0.25
    assert as_description(kopt.Adam(0.1)) != as_description(kopt.AdamW(0.1))


def test_a_rate_is_read_from_its_device_once(monkeypatch):
    given = kopt.Adam(0.1)
    first = as_description(given)
    reads = []
    monkeypatch.setattr(torch.Tensor, "__float__", reads.append)
    assert as_description(given) == first
    assert not reads


def test_names_that_weight_decay_leaves_out_become_a_group():
    given = kopt.AdamW(0.1)
    given.exclude_from_weight_decay(var_names=["gamma", "bias"])
    (group,) = as_description(given).groups
    assert group == Undecayed("*", weight_decay=0.0, words="bias|gamma")
    assert group.matches("bias_net.dense.bias", torch.ones(1))
    assert not group.matches("bias_net.dense.kernel", torch.ones(1))
    without = kopt.Adam(0.1)
    without.exclude_from_weight_decay(var_names=["bias"])
    assert as_description(without) == KerasAdam(0.1)


class Own(kopt.Adam):
    pass


def excluding():
    given = kopt.AdamW(0.1)
    given.exclude_from_weight_decay(var_list=[keras.Variable(1.0)])
    return given


def built():
    given = kopt.Adam(0.1)
    given.build([keras.Variable(1.0)])
    return given


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kopt.Adam(use_ema=True, ema_momentum=0.9), r"Adam: use_ema.*ema_decay=0\.9\)\.$"),
        (
            lambda: kopt.SGD(use_ema=True, ema_overwrite_frequency=5),
            r"ema_decay=0\.99\).*never overwritten by them.*ema_overwrite_frequency",
        ),
        (
            lambda: kopt.Adam(gradient_accumulation_steps=4),
            r"gradient_accumulation_steps=4 .*RunConfig\(parts=4\) \(--parts 4\).*4 times as large",
        ),
        (
            lambda: kopt.SGD(loss_scale_factor=1024.0),
            r"loss_scale_factor=1024\.0 .*precision='fp16', loss_scale=1024\.0",
        ),
        (
            lambda: kopt.LossScaleOptimizer(kopt.SGD(0.1)),
            r"LossScaleOptimizer can't be translated.*inner optimizer.*precision='fp16'",
        ),
        (kopt.ScheduleFreeAdamW, r"ScheduleFreeAdamW can't be translated.*AdamW.*ema_decay"),
        (
            lambda: kopt.MultiOptimizer(kopt.OptimizerMap(kopt.SGD(0.1))),
            r"MultiOptimizer can't be translated.*ParamGroup.*var_list",
        ),
        (Own, r"Own, a Keras optimizer of your own, .*Give keras.optimizers.Adam\(...\), or"),
        (excluding, r"var_list=...\) names variables.*var_names=\['bias', 'gamma'\]"),
        (built, r"built for a model's variables already.*Make a new one"),
        (lambda: kopt.SGD(lambda: 0.1), r"SGD: learning_rate=<function .*__call__\(self, step\)"),
        (lambda: kopt.SGD, r"The class keras.optimizers.SGD .*Call it: keras.optimizers.SGD\("),
    ],
)
def test_what_can_not_be_translated_is_refused_with_the_nearest(make, message):
    with pytest.raises(DefinitionError, match=message):
        as_description(make())


def test_keras_on_another_backend_is_refused(monkeypatch):
    given = kopt.Adam(0.1)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(DefinitionError, match=r"keras.optimizers.Adam .*jax backend"):
        as_description(given)


def test_a_keras_optimizer_as_train_op_is_told_what_to_write():
    def model_fn(features, labels, mode):
        loss = layers.fully_connected(features, 1, activation_fn=None).square().mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=kopt.SGD(0.1))

    with pytest.raises(DefinitionError, match=r"it is a SGD.*as_description\(optimizer\).minimize"):
        dovetail.build(model_fn, example=(torch.ones(2, 3), torch.ones(2, 1)), device="cpu")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"clip_each": 1.0, "clip_norm": 1.0}, "both clip_each=1.0 and clip_norm=1.0"),
        ({"clip_each": -1.0}, "clip_each must be a finite number of at least 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number of at least 0"),
        ({"beta_2": 1.0}, "beta_2 must be below 1"),
    ],
)
def test_a_description_refuses_nonsense(field, message):
    with pytest.raises(DefinitionError, match=message):
        KerasAdam(**field)


X, Y = torch.linspace(-1, 1, 12).reshape(4, 3), torch.ones(4, 1)


def keras_fn(features, labels, mode):
    """A model_fn that makes its Keras optimizer anew at each call."""
    output = layers.fully_connected(features, 1, activation_fn=None)
    loss = (output - labels).square().mean()
    given = kopt.Nadam(kopt.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01]))
    return dovetail.EstimatorSpec(mode, output, loss, train_op=as_description(given).minimize(loss))


def test_a_model_fn_trains_with_a_keras_optimizer_as_keras_would():
    program = dovetail.build(keras_fn, example=(X, Y), device="cpu")
    parameters = dict(program.network.named_parameters())
    variables = [keras.Variable(p.detach().numpy()) for p in parameters.values()]
    given = kopt.Nadam(kopt.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01]))
    for _ in range(6):
        program.train_step(X, Y)
        weight, bias = (v.value.detach().clone().requires_grad_() for v in variables)
        (X @ weight.T + bias - Y).square().mean().backward()
        given.apply([weight.grad, bias.grad], variables)
    for parameter, variable in zip(parameters.values(), variables, strict=True):
        ours, theirs = parameter.detach().numpy(), variable.value.detach().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)


def test_a_run_cut_in_two_ends_with_the_same_weights(tmp_path):
    config = dovetail.RunConfig(device="cpu", unpositioned_input="fast_forward")

    def trained(*stops):
        model_dir = tmp_path / "-".join(map(str, stops))
        for stop in stops:
            estimator = dovetail.Estimator(keras_fn, model_dir=model_dir, config=config)
            estimator.train(lambda: [(X * i, Y) for i in range(1, 9)], max_steps=stop)
        return {n: estimator.get_variable_value(n) for n in estimator.get_variable_names()}

    whole, halves = trained(7), trained(3, 7)
    assert whole.keys() == halves.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, halves[name])


MODEL_FILE = """
import keras
import torch

model = torch.nn.Linear(3, 1)

def loss(output, labels):
    return ((output - labels) ** 2).mean()

def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr, clipvalue=0.25)
"""


def test_a_model_file_may_return_a_keras_optimizer(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(MODEL_FILE)
    program = dovetail.build(
        dovetail.load(path, params={"optimizer": {"lr": 0.5}}), example=(X, Y), device="cpu"
    )
    (op,) = program.statics(dovetail.ModeKeys.TRAIN).train_ops.values()
    assert op.optimizer == SGD(0.5, clip_value=0.25)


def test_what_can_not_be_translated_in_a_model_file_is_refused_at_its_line(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(MODEL_FILE.replace("clipvalue=0.25", "use_ema=True"))
    with pytest.raises(DefinitionError, match=r"own\.py:\d+.*use_ema.*RunConfig\(ema_decay=0.99\)"):
        dovetail.build(dovetail.load(path), example=(X, Y), device="cpu")


def test_keras_is_not_imported_for_those_who_do_not_use_it():
    script = """
        import sys, torch
        from dovetail import optimizers
        optimizers.as_description(torch.optim.NAdam)
        optimizers.as_description(optimizers.Adam())
        assert not any("keras" in name for name in sys.modules), sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_a_function_to_a_torch_optimizer_goes_on_working_beside_keras():
    assert as_description(torch.optim.NAdam) == optimizers.Custom(torch.optim.NAdam)
    assert as_description(SGD(schedules.Cosine(0.1, 5))) == SGD(schedules.Cosine(0.1, 5))


KERAS_FILE = """
import keras

inputs = keras.Input((5,), name="x")
hidden = keras.layers.Dense(8, activation="tanh", name="bias_net")(inputs)
hidden = keras.layers.BatchNormalization()(hidden)
model = keras.Model(inputs, keras.layers.Dense(2)(hidden))

def loss(output, labels):
    return ((output - labels) ** 2).mean()

def optimizer():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.7)
    made = keras.optimizers.AdamW(schedule, weight_decay=0.5, global_clipnorm=0.3)
    made.exclude_from_weight_decay(var_names=["bias", "gamma"])
    return made
"""


def test_a_keras_model_and_its_optimizer_train_as_with_train_on_batch(tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(6, 5)), generator.normal(size=(6, 2))
    path = tmp_path / "own.py"
    path.write_text(KERAS_FILE)
    batch = ({"x": torch.tensor(x).float()}, torch.tensor(y).float())
    program = dovetail.build(dovetail.load(path), example=batch, device="cpu")
    names: dict = {}
    exec(KERAS_FILE, names)
    own = names["model"]
    state = [value for _, value in program.network.named_parameters()]
    for variable, value in zip(own.trainable_variables, state, strict=True):
        variable.assign(value.detach().clone())
    own.compile(optimizer=names["optimizer"](), loss="mse")
    for _ in range(8):
        program.train_step(*batch)
        own.train_on_batch(x.astype("float32"), y.astype("float32"))
    for variable, value in zip(own.trainable_variables, state, strict=True):
        theirs = variable.value.detach().numpy()
        np.testing.assert_allclose(value.detach().numpy(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            "keras.optimizers.Adam(0.1)",
            "optimizer = dovetail.optimizers.as_description(keras.optimizers.Adam(...)). Then",
        ),
        ("torch.optim.AdamW([torch.ones(1)])", "dovetail.optimizers.AdamW(...).minimize(...)"),
    ],
)
def test_a_model_fn_that_uses_an_optimizer_as_a_description_is_told_how(made, says):
    optimizer = eval(made)

    def model_fn(features, labels, mode):
        loss = dovetail.layers.fully_connected(features, 1).mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizer.minimize(loss))

    with pytest.raises(AttributeError, match="no attribute 'minimize'") as raised:
        dovetail.build(model_fn, example=(torch.ones(2, 3), None), device="cpu")
    assert says in "".join(raised.value.__notes__)


def test_other_errors_of_a_definition_have_no_note():
    error = AttributeError("no 'width'", name="width", obj=keras.optimizers.Adam())
    note_cure(error)
    assert not hasattr(error, "__notes__")

"""A live definition: built once and seeded, stepped in three modes."""

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.errors import DataError, DefinitionError

X = torch.linspace(-1, 1, 24).reshape(8, 3)
Y = X.sum(1, keepdim=True)


def model_fn(features, labels, mode, params):
    h = layers.batch_norm(layers.fully_connected(features, 6))
    h = layers.dropout(h, 0.5)
    output = layers.fully_connected(h, 1, activation_fn=None)
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, {"output": output})
    assert output.shape == labels.shape
    loss = F.mse_loss(output, labels)
    return dovetail.EstimatorSpec(
        mode,
        output,
        loss,
        optimizers.SGD(0.1).minimize(loss),
        {"error": metrics.mean_absolute_error(labels, output)},
    )


def built(seed=0, **settings):
    return dovetail.build(model_fn, example=(X, Y), device="cpu", seed=seed, **settings)


def snapshot(program):
    return {name: value.clone() for name, value in program.state().items()}


def assert_identical(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


# Building


def test_two_programs_of_one_seed_are_equal_and_share_nothing():
    torch.manual_seed(1)
    one = built()
    torch.manual_seed(2)  # the history of the generators does not count
    two = built()
    assert_identical(one.state(), two.state())
    before = snapshot(two)
    one.train_step(X, Y)
    assert_identical(two.state(), before)
    two.train_step(X, Y)
    assert_identical(one.state(), two.state())


def test_another_seed_gives_other_weights():
    name = "fully_connected.weight"
    assert not torch.equal(built(0).state()[name], built(1).state()[name])


def test_the_first_step_builds_what_an_example_builds():
    late = dovetail.build(model_fn, device="cpu")
    assert not late.built
    early = built()
    assert early.built
    late.train_step(X, Y)
    early.train_step(X, Y)
    assert_identical(late.state(), early.state())


def test_building_leaves_the_global_generators_as_they_were():
    torch.manual_seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    built()
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()


class Counting(nn.Module):
    """Counts its calls in one buffer in place, and in another by putting a new tensor there."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("in_place", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x):
        self.in_place += 1
        self.replaced = self.replaced + 1
        return x * self.weight


def test_building_leaves_no_trace_in_buffers():
    def counting(features, labels, mode):
        loss = layers.layer(Counting)(features).mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss))

    program = dovetail.build(counting, example=(X, None), device="cpu")
    module = program.network.counting
    assert (module.in_place, module.replaced) == (0, 0)
    for _ in range(3):
        program.train_step(X)
    assert (module.in_place, module.replaced) == (3, 3)
    running = built().state()["batch_norm.running_mean"]
    assert not running.any()


def test_a_failed_build_leaves_nothing_behind():
    program = dovetail.build(model_fn, device="cpu")
    with pytest.raises(AssertionError):  # raised by the loss, when the layers are made
        program.train_step(torch.ones(8, 5), torch.ones(5, 1))
    program.train_step(X, Y)
    fresh = dovetail.build(model_fn, device="cpu")
    fresh.train_step(X, Y)
    assert_identical(program.state(), fresh.state())


def test_threads_that_come_first_at_once_build_once():
    program = dovetail.build(model_fn, device="cpu")
    threads = [threading.Thread(target=program.build, args=(X, Y)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_identical(program.state(), built().state())


def test_a_program_made_to_predict_is_in_eval_mode_and_not_trained():
    program = dovetail.build(model_fn, example=X, device="cpu")
    assert not any(module.training for module in program.network.modules())
    one, two = program.predict_step(X), program.predict_step(X[:1])
    assert torch.equal(one["predictions"]["output"][:1], two["predictions"]["output"])
    with pytest.raises(DefinitionError, match=r"built in PREDICT mode and can't be trained"):
        program.train_step(X, Y)
    with pytest.raises(DefinitionError, match="no optimizer yet"):
        program.optimizer  # noqa: B018


def test_a_program_made_from_a_schema_takes_its_features_and_labels():
    def by_name(features, labels, mode, params):
        assert labels.shape == (2,)
        return model_fn(features["x"], labels[:, None], mode, params)

    schema = dovetail.Schema.from_list(
        [
            {"name": "x", "shape": [3], "dtype": "float32"},
            {"name": "label", "shape": [1], "dtype": "float32"},
        ]
    )
    program = dovetail.build(by_name, example=schema, device="cpu")
    assert program.state()["fully_connected.weight"].shape == (6, 3)


def test_lazy_layers_of_torch_take_their_shape_when_built():
    def lazy(features, labels, mode):
        output = layers.layer(nn.LazyLinear, 1)(features)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.Adam(0.1).minimize(loss))

    program = dovetail.build(lazy, device="cpu")
    program.train_step(X, Y)
    assert program.state()["lazylinear.weight"].shape == (1, 3)


def test_a_module_from_outside_is_shared_by_no_two_programs():
    outside = nn.Linear(3, 1)
    first = outside.weight.detach().clone()

    def with_outside(features, labels, mode):
        output = layers.layer(outside, name="net")(features)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))

    one = dovetail.build(with_outside, example=(X, Y), device="cpu")
    two = dovetail.build(with_outside, example=(X, Y), device="cpu")
    assert one.network.net is outside
    one.train_step(X, Y)
    assert torch.equal(two.state()["net.weight"], first)
    two.train_step(X, Y)
    assert_identical(one.state(), two.state())


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_module_from_outside_has_one_name(earlier):
    outside = nn.Linear(3, 3)

    def twice(features, labels, mode):
        h = layers.layer(outside, name="one")(features)
        return dovetail.EstimatorSpec(mode, layers.layer(outside, name="two")(h))

    stores = []
    for _ in range(earlier):
        with layers.scope() as store:
            layers.layer(outside, name="elsewhere")
        stores.append(store)
    with pytest.raises(DefinitionError, match="already in the program as 'one'"):
        dovetail.build(twice, example=X, device="cpu")


def test_params_reach_model_fn_and_are_the_programs_own():
    def with_params(features, labels, mode, params, config):
        assert config == "the config"
        assert params["rate"] == params.rate == 0.5
        return model_fn(features, labels, mode, params)

    definition = dovetail.load(with_params, params={"rate": 0.5})
    program = dovetail.build(definition, example=(X, Y), device="cpu", config="the config")
    program.params.rate = 0.25
    assert definition.params.rate == 0.5


# Stepping


def test_steps_count_and_lower_the_loss():
    program = built()
    losses = [program.train_step(X, Y)["loss"] for _ in range(30)]
    assert program.global_step == int(program.network.global_step) == 30
    assert losses[-1] < losses[0]
    assert not losses[0].requires_grad
    assert losses[0].shape == ()


def test_evaluating_and_predicting_change_nothing():
    program = built()
    program.train_step(X, Y)
    before = snapshot(program)
    results = [program.eval_step(X, Y) for _ in range(2)]
    assert torch.equal(results[0]["loss"], results[1]["loss"])
    predicted = program.predict_step(X)["predictions"]["output"]
    assert torch.equal(predicted, results[0]["predictions"]["output"])
    assert set(results[0]["metrics"]["error"]) == {"labels", "predictions"}
    assert_identical(program.state(), before)
    assert program.global_step == 1


def test_steps_between_evaluations_are_those_without():
    plain, interrupted = built(), built()
    for _ in range(4):
        plain.train_step(X, Y)
        interrupted.train_step(X, Y)
        interrupted.eval_step(X, Y)
        interrupted.predict_step(X)
    assert_identical(plain.state(), interrupted.state())


def test_a_step_resumed_has_the_randomness_of_the_step():
    plain = built()
    states = []
    for _ in range(5):
        states.append(snapshot(plain))
        plain.train_step(X, Y)
    resumed = built()
    resumed.network.load_state_dict(states[3])
    resumed.global_step = 3
    torch.manual_seed(99)
    for _ in range(2):
        resumed.train_step(X, Y)
    assert_identical(resumed.state(), plain.state())  # SGD without momentum keeps no state


def test_arrays_lists_and_views_are_taken_as_tensors():
    losses = []
    for features in (X, X.numpy(), X.numpy()[::-1][::-1], X.tolist()):
        losses.append(float(built().train_step(features, Y.numpy())["loss"]))
    assert len(set(losses)) == 1


def test_bf16_keeps_parameters_in_float32():
    program = built(precision="bf16")
    plain = built()
    for _ in range(3):
        loss, expected = program.train_step(X, Y)["loss"], plain.train_step(X, Y)["loss"]
        assert loss.isfinite()
        assert loss != expected
        torch.testing.assert_close(loss, expected, rtol=0.1, atol=0.1)
    floating = {v.dtype for v in program.state().values() if v.dtype != torch.int64}
    assert floating == {torch.float32}
    assert program.network.fully_connected.weight.grad.dtype == torch.float32
    assert program.predict_step(X)["predictions"]["output"].dtype == torch.bfloat16


def test_preprocess_runs_in_every_mode(tmp_path):
    file = tmp_path / "scaled.py"
    file.write_text(
        "import torch, dovetail\n"
        "ones = torch.nn.init.ones_\n"
        "def preprocess(features, mode, scale=0.5):\n"
        "    return features * scale\n"
        "def model_fn(features, labels, mode):\n"
        "    output = features * dovetail.layers.get_variable('w', [1], initializer=ones)\n"
        "    loss = output.mean()\n"
        "    op = dovetail.optimizers.SGD(0.0).minimize(loss)\n"
        "    return dovetail.EstimatorSpec(mode, output, loss, op)\n"
    )
    for scale, params in ((0.5, None), (0.25, {"preprocess": {"scale": 0.25}})):
        program = dovetail.build(file, params=params, device="cpu")
        trained = program.train_step(torch.ones(2, 1))
        assert trained["loss"] == program.eval_step(torch.ones(2, 1))["loss"] == scale
        assert program.predict_step(torch.ones(2, 1))["predictions"]["output"].mean() == scale


def test_the_step_that_model_fn_sees_counts_finished_steps():
    def counted(features, labels, mode):
        step = dovetail.get_global_step()
        dovetail.summary.scalar("step", step)
        loss = layers.layer(nn.Linear, 3, 1)(features).mean() + 0 * step
        return dovetail.EstimatorSpec(
            mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss, global_step=step)
        )

    program = dovetail.build(counted, device="cpu")
    outputs = [program.train_step(X) for _ in range(3)]
    assert [int(output["summaries"]["scalar/step"]) for output in outputs] == [0, 1, 2]


# Errors


def spec_error(model_fn):
    program = dovetail.build(model_fn, device="cpu")

    def two_steps():
        program.train_step(X, Y)
        program.train_step(X, Y)

    with pytest.raises(DefinitionError) as caught:
        two_steps()
    return str(caught.value)


def test_a_spec_that_is_none_is_refused():
    assert "returned a tuple in TRAIN mode" in spec_error(lambda features, labels: (1, 2))


def test_a_spec_of_another_mode_is_refused():
    def wrong(features, labels, mode):
        return dovetail.EstimatorSpec("eval", loss=features.mean())

    assert "called in TRAIN mode and returned a spec for EVAL" in spec_error(wrong)


def test_another_optimizer_at_a_later_step_is_refused():
    rates = iter([0.1, 0.2, 0.3])

    def changing(features, labels, mode):
        loss = layers.layer(nn.Linear, 3, 1)(features).mean()
        return dovetail.EstimatorSpec(
            mode, loss=loss, train_op=optimizers.SGD(next(rates)).minimize(loss)
        )

    message = spec_error(changing)
    assert "another optimizer at this step" in message
    assert "schedule" in message


def test_other_train_ops_at_a_later_step_are_refused():
    names = iter(["one", "two"])

    def changing(features, labels, mode):
        loss = layers.layer(nn.Linear, 3, 1)(features).mean()
        op = optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, loss=loss, train_op={next(names): op})

    assert "['two'] at this step and ['one'] at the first" in spec_error(changing)


def test_layers_that_only_evaluation_uses_are_refused():
    def extra(features, labels, mode):
        output = layers.fully_connected(features, 1, activation_fn=None)
        if mode == dovetail.ModeKeys.EVAL:
            output = layers.fully_connected(output, 1, activation_fn=None)
        loss = F.mse_loss(output, labels)
        return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))

    program = dovetail.build(extra, example=(X, Y), device="cpu")
    with pytest.raises(DefinitionError, match=r"test_program.py:\d+: layer 'fully_connected_1'"):
        program.eval_step(X, Y)


@pytest.mark.parametrize(
    ("name", "value", "known"), [("precision", "fp8", "'fp16'"), ("execution", "fast", "'eager'")]
)
def test_an_unknown_way_to_run_is_refused(name, value, known):
    with pytest.raises(DefinitionError, match=f"{name}='{value}'.*{known}"):
        dovetail.build(model_fn, **{name: value})


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(DefinitionError, match="device='cuda:77' can't be used here"):
        dovetail.build(model_fn, device="cuda:77")
    with pytest.raises(DefinitionError, match="device='gpu' can't be used here.*mean 'cuda'"):
        dovetail.build(model_fn, device="gpu")


def test_features_that_are_no_tensors_are_refused_by_name():
    with pytest.raises(DataError, match=r"features\['name'\] is a list"):
        built().train_step({"x": X, "name": ["a", "b"]}, Y)

"""What later work leans on: a model_fn with inline layers under torch's tracers."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, metrics, optimizers, summary
from dovetail.program.batches import mapped
from dovetail.program.network import Network

FLAG = "skip_fwd_side_effects_in_bwd_under_checkpoint"


def residual(x, checked):
    h = layers.layer_norm(layers.conv2d(x, 4, 3, weights_regularizer=layers.l2_loss))
    h = layers.block(inner, h, checkpoint=checked)
    return x + h


def inner(x):
    summary.scalar("inner", x.mean())
    return layers.conv2d(x, 4, 3, activation_fn=None, weights_regularizer=layers.l2_loss)


def model_fn(features, labels, mode, params):
    checked = params.get("checkpoint", False)
    h = layers.conv2d(features["image"], 4, 3, 2, normalizer_fn=layers.batch_norm)
    for _ in range(2):
        h = layers.block(residual, h, checked)
    h = layers.flatten(layers.max_pool2d(h, 2))
    h = layers.dropout(h, params.get("keep_prob", 1.0))
    h = h * layers.get_variable("gate", [h.shape[1]], initializer=nn.init.ones_)
    logits = layers.fully_connected(h, 3, activation_fn=None)
    predictions = {"logits": logits, "class": logits.argmax(-1)}
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, predictions)
    loss = F.cross_entropy(logits, labels) + 1e-3 * layers.regularization_loss()
    summary.scalar("gate", h.mean())
    optimizer = optimizers.AdamW(
        optimizers.schedules.Exponential(0.01, 10, 0.5),
        groups=optimizers.no_decay(),
        clip_norm=params.get("clip_norm", 1.0),
    )
    return dovetail.EstimatorSpec(
        mode,
        predictions,
        loss,
        optimizer.minimize(loss, global_step=dovetail.get_global_step()),
        {
            "accuracy": metrics.accuracy(labels, predictions["class"]),
            "error": (logits.argmax(-1) != labels).float(),
        },
        loss_weight=torch.ones_like(labels).sum(),
    )


def batch(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, 8, 8, 2, generator=generator)
    return {"image": images}, torch.randint(0, 3, (size,), generator=generator)


def built(**settings):
    params = {"keep_prob": 1.0, **settings.pop("params", {})}
    return dovetail.build(model_fn, params=params, example=batch(6), device="cpu", **settings)


def with_mode(program, mode):
    """Return the network, entered in a mode, its first and uncompiled call in that mode done."""
    features, labels = batch(6)
    program.eval_step(features, labels)
    program.predict_step(features)
    network = program.network
    network.mode = mode
    return network.train(mode == dovetail.ModeKeys.TRAIN)


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def use_backend(monkeypatch, backend):
    """Let programs compile with another backend than inductor, which takes long."""
    real = torch.compile

    @functools.wraps(real)
    def compile(module, **settings):
        return real(module, backend=backend, **settings)

    monkeypatch.setattr(torch, "compile", compile)


def detached(output):
    return mapped(output, torch.Tensor.detach)


# Compiling


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("mode", list(dovetail.ModeKeys))
def test_a_model_fn_compiles_in_one_graph(mode):
    network = with_mode(built(), mode)
    features, labels = batch(6)
    arguments = (features, None if mode == dovetail.ModeKeys.PREDICT else labels)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    first = {name: value.clone() for name, value in network.state_dict().items()}
    results = []
    for call in (network, compiled):
        network.zero_grad()
        network.load_state_dict(first)
        output = call(*arguments)
        if mode == dovetail.ModeKeys.TRAIN:
            output["train_losses"]["optimizer"].backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        buffers = {name: b.clone() for name, b in network.named_buffers()}
        results.append((detached(output), gradients, buffers))
    torch.testing.assert_close(results[0], results[1])


def small(features, labels, mode, params):
    h = layers.block(layers.fully_connected, features, params.width)
    output = layers.fully_connected(h, 1, activation_fn=None)
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, output)
    loss = F.mse_loss(output, features.sum(1, keepdim=True))
    return dovetail.EstimatorSpec(mode, output, loss, optimizers.Adam(0.1).minimize(loss))


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # inductor's imports
def test_compiled_execution_gives_the_losses_of_eager():
    x = torch.linspace(-1, 1, 24).reshape(8, 3)
    losses = []
    for execution in ("eager", "compiled"):  # with inductor
        program = dovetail.build(small, params={"width": 4}, device="cpu", execution=execution)
        losses.append([float(program.train_step(x)["loss"]) for _ in range(5)])
        losses[-1].append(float(program.eval_step(x)["loss"]))
        assert program.predict_step(x)["predictions"]["output"].shape == (8, 1)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert len(set(losses[0])) == 6


@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_execution_takes_parts_and_batches_of_any_size(monkeypatch):
    use_backend(monkeypatch, "aot_eager")
    losses = []
    for execution in ("eager", "compiled"):
        program = dovetail.build(small, params={"width": 4}, device="cpu", execution=execution)
        seen = [
            program.train_step(batch(n)[0]["image"][:, 0, 0], parts=3, summary=n > 6)["loss"]
            for n in (7, 7, 8, 4, 6)
        ]
        seen += [program.eval_step(torch.ones(n, 2))["loss"] for n in (1, 2, 5)]
        losses.append([loss.item() for loss in seen])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_execution_takes_recomputed_blocks(monkeypatch):
    use_backend(monkeypatch, "aot_eager")
    losses = []
    with torch._dynamo.config.patch({FLAG: True}):  # put back as it was, for the tests after it
        for execution in ("eager", "compiled"):
            program = built(execution=execution, params={"checkpoint": True})
            losses.append([float(program.train_step(*batch(6, s))["loss"]) for s in range(3)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.usefixtures("fresh_dynamo")
def test_each_program_compiles_however_many_there_are(monkeypatch):
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    use_backend(monkeypatch, counting)

    for width in range(1, 12):
        program = dovetail.build(small, params={"width": width}, device="cpu", execution="compiled")
        before = len(graphs)
        for _ in range(3):
            program.train_step(torch.ones(2, 3))
        assert len(graphs) == before + 1


# Exporting

# Torch notes that the thread's slot is written to while it traces; it is put back at the end.
side_effects = pytest.mark.filterwarnings(
    "ignore:While compiling, we found certain side effects:UserWarning"
)


@side_effects
@pytest.mark.parametrize("strict", [True, False])
def test_predicting_exports_with_a_variable_batch(strict):
    network = with_mode(built(), dovetail.ModeKeys.PREDICT)
    size = torch.export.Dim("batch", min=2, max=64)
    shapes = {"features": {"image": {0: size}}, "labels": None}
    with torch.no_grad():
        exported = torch.export.export(
            network, (batch(4)[0], None), dynamic_shapes=shapes, strict=strict
        )
        for count in (2, 7, 64):
            features, _ = batch(count)
            output = exported.module()(features, None)
            torch.testing.assert_close(output, network(features))
    assert "conv2d.weight" in exported.state_dict


@side_effects
@pytest.mark.parametrize("strict", [True, False])
def test_training_exports_with_a_variable_batch(strict):
    network = with_mode(built(), dovetail.ModeKeys.TRAIN)
    size = torch.export.Dim("batch", min=2, max=64)
    shapes = {"features": {"image": {0: size}}, "labels": {0: size}}
    exported = torch.export.export(network, batch(4), dynamic_shapes=shapes, strict=strict)
    for count in (2, 7):
        output = exported.module()(*batch(count))
        torch.testing.assert_close(detached(output), detached(network(*batch(count))))


# Fake tensors


def test_fake_tensors_build_and_step_without_memory():
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    def wide(features, labels, mode):
        # 10**12 weights, 4 TB, which no test machine would give
        output = layers.layer(nn.Linear, 10**6, 10**6)(features)
        loss = F.mse_loss(layers.block(narrow, output), labels)
        return dovetail.EstimatorSpec(
            mode, output, loss, optimizers.Adam(0.1, clip_norm=1.0).minimize(loss)
        )

    def narrow(x):
        return layers.fully_connected(layers.dropout(x, 0.5), 1)

    with FakeTensorMode():
        program = dovetail.build(wide, device="cpu")
        output = program.train_step(torch.empty(8, 10**6), torch.empty(8, 1), parts=2)
        program.eval_step(torch.empty(8, 10**6), torch.empty(8, 1))
    assert output["loss"].shape == ()
    assert all(isinstance(p, FakeTensor) for p in program.network.parameters())
    assert program.state()["narrow.fully_connected.weight"].shape == (1, 10**6)
    moments = program.optimizer.state[program.network.linear.weight]["exp_avg"]
    assert isinstance(moments, FakeTensor)


# Activation checkpointing


@pytest.mark.parametrize("parts", [1, 3])
def test_recomputed_blocks_train_to_the_same_parameters(parts):
    states = []
    for checkpoint in (False, True):
        program = built(params={"checkpoint": checkpoint, "keep_prob": 0.7})
        for step in range(3):
            program.train_step(*batch(6, step), parts=parts)
        states.append(program.state())
    assert list(states[0]) == list(states[1])
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_recomputed_blocks_run_twice(monkeypatch):
    calls = []
    monkeypatch.setitem(globals(), "inner", lambda x: calls.append(0) or x.sigmoid())
    program = built(params={"checkpoint": True})
    calls.clear()
    program.train_step(*batch(6))
    assert len(calls) == 4
    program.eval_step(*batch(6))
    assert len(calls) == 6


def test_a_network_is_one_module_of_plain_results():
    program = built()
    output = program.network(*batch(6))
    assert isinstance(program.network, Network)
    assert type(output) is dict
    assert set(output) == {
        *("loss", "loss_weight", "predictions", "train_losses", "metrics", "summaries")
    }
    assert set(output["summaries"]) == {"scalar/inner", "scalar/gate"}

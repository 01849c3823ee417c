"""Low precision against plain loops: autocast, GradScaler, clipping, parts, several optimizers."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import ParamsError
from dovetail.program.program import Program
from dovetail.run import checkpoint, saving

CPU = torch.device("cpu")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def batches(steps, start=0, size=8):
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(size, 5, generator=generator)
        yield x, torch.randn(size, 1, generator=generator)


X, Y = next(batches(1))
CLIP = 0.3
ADAM = optimizers.Adam(0.01, clip_norm=CLIP)


def two_layers(features):
    h = torch.tanh(layers.layer(nn.Linear, 5, 7, name="body")(features))
    return layers.layer(nn.Linear, 7, 1, name="head")(h)


def model_fn(features, labels, mode):
    output = two_layers(features)
    loss = F.mse_loss(output.float(), labels)
    return dovetail.EstimatorSpec(mode, output, loss, ADAM.minimize(loss))


def two_optimizers(features, labels, mode):
    output = two_layers(features)
    loss = F.mse_loss(output.float(), labels)
    other = loss + 0.1 * output.float().abs().mean()
    ops = {
        "body": optimizers.SGD(0.1, clip_value=0.01).minimize(loss, var_list=["body.*"]),
        "head": ADAM.minimize(other, var_list=["head.*"]),
    }
    return dovetail.EstimatorSpec(mode, output, loss, ops)


def own_gradients(features, labels, mode):
    output = two_layers(features)
    loss = F.mse_loss(output.float(), labels)
    weight = layers.layer(nn.Linear, 7, 1, name="head").weight
    if not torch.is_grad_enabled():
        return dovetail.EstimatorSpec(mode, output, loss)
    (gradient,) = torch.autograd.grad(loss, [weight], retain_graph=True)
    op = optimizers.SGD(0.1).apply_gradients([(gradient, weight)])
    return dovetail.EstimatorSpec(mode, output, loss, op)


def built(precision, model=model_fn, **settings):
    return dovetail.build(
        model, example=(X, Y), device="cpu", execution="eager", precision=precision, **settings
    )


class Net(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.body, self.head = nn.Linear(5, 7), nn.Linear(7, 1)
        self.load_state_dict(first)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def copied(program):
    return {name: tensor.clone() for name, tensor in program.state().items()}


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_with_clipping_and_parts_is_the_plain_loop(precision, parts):
    program = built(precision)
    net = Net(copied(program))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    scales = []
    for x, y in batches(8):
        output = program.train_step(x, y, parts=parts)
        optimizer.zero_grad()
        for part_x, part_y in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
            with torch.autocast("cpu", DTYPES[precision]):
                loss = F.mse_loss(net(part_x).float(), part_y)
            if parts > 1:
                loss = loss * len(part_x)
            scaler.scale(loss).backward()
        if parts > 1:
            for parameter in net.parameters():
                parameter.grad /= len(x)
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()
        if precision == "fp16":
            assert float(output["loss_scale"]) == scaler.get_scale()
        scales.append(float(output.get("loss_scale", 0)))
    assert_same(program.state(), net.state_dict())
    if precision == "fp16":
        skipped = sum(b < a for a, b in zip([65536.0, *scales], scales, strict=False))
        assert int(output["skipped_steps"]) == skipped < 8


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_several_optimizers_are_those_of_the_plain_loop(precision):
    program = built(precision, two_optimizers)
    net = Net(copied(program))
    body = torch.optim.SGD(net.body.parameters(), lr=0.1)
    head = torch.optim.Adam(net.head.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    for x, y in batches(8):
        program.train_step(x, y)
        with torch.autocast("cpu", DTYPES[precision]):
            output = net(x)
            loss = F.mse_loss(output.float(), y)
            other = loss + 0.1 * output.float().abs().mean()
        for one, parameters in ((loss, net.body.parameters()), (other, net.head.parameters())):
            own = list(parameters)
            gradients = torch.autograd.grad(scaler.scale(one), own, retain_graph=True)
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
        for optimizer in (body, head):
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_value_(net.body.parameters(), 0.01)
        nn.utils.clip_grad_norm_(net.head.parameters(), CLIP)
        for optimizer in (body, head):
            scaler.step(optimizer)
        scaler.update()
    assert_same(program.state(), net.state_dict())


def test_gradients_that_model_fn_takes_itself_are_scaled_and_brought_back():
    program = built("fp16", own_gradients)
    net = Net(copied(program))
    for x, y in batches(5):
        program.train_step(x, y)
        with torch.autocast("cpu", torch.float16):
            loss = F.mse_loss(net(x).float(), y)
        (gradient,) = torch.autograd.grad(loss, [net.head.weight])
        with torch.no_grad():
            net.head.weight.add_(gradient, alpha=-0.1)  # as torch's SGD does
    assert_same(program.state(), net.state_dict())


def test_a_step_that_overflows_is_skipped_and_counted():
    program = built("fp16")
    for x, y in batches(4):
        program.train_step(x, y)
    before, scale = copied(program), program.extra_state()["loss_scale"]
    moments = {
        k: v.clone() for k, v in program.optimizer.state[program.network.head.weight].items()
    }
    output = program.train_step(X, Y * 3e37)  # the loss is finite, its gradient is not in fp16
    assert_same(program.state(), before)
    for key, value in program.optimizer.state[program.network.head.weight].items():
        assert torch.equal(value, moments[key]), key
    assert float(output["loss_scale"]) == scale["scale"] / 2
    assert int(output["skipped_steps"]) == scale["skipped"] + 1
    assert program.global_step == 5


def test_the_scale_grows_after_many_good_steps():
    program = built("fp16")
    program._scale.set_growth_interval(3)
    scales = [float(program.train_step(x, y)["loss_scale"]) for x, y in batches(10)]
    assert any(later == 2 * earlier for earlier, later in itertools.pairwise(scales))


def test_a_resumed_run_has_the_scale_of_the_whole(tmp_path):
    def trained(program, stop, start=0):
        for x, y in batches(stop, start):
            program.train_step(x, y, parts=2)
        return program

    whole = trained(built("fp16", ema_decay=0.9), 9)
    saving.save(trained(built("fp16", ema_decay=0.9), 4), tmp_path)
    again = built("fp16", ema_decay=0.9)
    saving.restore(again, checkpoint.load(checkpoint.latest(tmp_path)))
    assert again.extra_state()["loss_scale"]["skipped"] > 0
    trained(again, 9, 4)
    assert_same(whole.state(), again.state())
    assert_same(whole.averages.state(), again.averages.state())
    assert whole.extra_state() == again.extra_state()


def test_a_state_without_a_scale_begins_anew():
    program = built("fp16")
    for x, y in batches(3):
        program.train_step(x, y)
    assert program.extra_state() != built("fp16").extra_state()
    program.restore_extra({})
    assert program.extra_state()["loss_scale"] == built("fp16").extra_state()["loss_scale"]


def test_before_update_sees_the_unscaled_loss():
    program, seen = built("fp16"), []
    program.before_update = lambda loss: seen.append(float(loss.detach()))
    output = program.train_step(X, Y)
    assert seen == [float(output["loss"])]
    assert seen[0] < 100


class Waits(TorchDispatchMode):
    """Counts what would wait for an accelerator: numbers that Python reads."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "expected"), [("fp32", 0), ("bf16", 0), ("fp16", 1)])
def test_a_step_reads_no_number_but_for_the_one_that_the_scaler_must(precision, expected):
    def plain(features, labels, mode):
        output = two_layers(features)
        loss = F.mse_loss(output.float(), labels)
        op = optimizers.Momentum(0.1, clip_norm=CLIP).minimize(loss)
        return dovetail.EstimatorSpec(mode, output, loss, op)

    program = built(precision, plain, ema_decay=0.9, freeze=["body.bias"], recompute=["body"])
    for x, y in batches(3):
        program.train_step(x, y, parts=2)
    with Waits() as waits:
        program.train_step(X, Y, parts=2, summary=False)
    assert waits.count == expected


def with_constant(scale):
    program = Program(
        dovetail.load(model_fn), device=torch.device("cpu"), precision="fp16", loss_scale=scale
    )
    program.build(X, Y)
    return program


def test_a_constant_loss_scale_is_the_plain_loop_that_divides_by_it():
    program = with_constant(1024.0)
    net = Net(copied(program))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for x, y in batches(8):
        output = program.train_step(x, y)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = F.mse_loss(net(x).float(), y)
        (loss * 1024).backward()
        for parameter in net.parameters():
            parameter.grad /= 1024
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        assert (float(output["loss_scale"]), int(output["skipped_steps"])) == (1024.0, 0)
    assert_same(program.state(), net.state_dict())


def test_a_constant_loss_scale_that_is_too_large_skips_the_step_and_stays():
    program = with_constant(1e30)
    before = copied(program)
    for step, (x, y) in enumerate(batches(3), 1):
        output = program.train_step(x, y)
        assert float(output["loss_scale"]) == pytest.approx(1e30)
        assert int(output["skipped_steps"]) == step
    assert_same(program.state(), before)


def test_a_constant_loss_scale_holds_where_a_run_began_with_another():
    program = with_constant(256.0)
    adaptive = built("fp16")
    adaptive.train_step(X, Y)
    program.restore_extra(adaptive.extra_state())
    assert float(program.train_step(X, Y)["loss_scale"]) == 256.0


def test_a_loss_scale_without_fp16_is_refused():
    definition = dovetail.load(lambda features, labels, mode: None)
    with pytest.raises(ParamsError, match="is for precision='fp16', and the precision is 'bf16'"):
        Program(definition, device=torch.device("cpu"), precision="bf16", loss_scale=256.0)

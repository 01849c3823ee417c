"""Recomputed modules: the same numbers bit for bit, and fewer of them kept."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dovetail
from dovetail import layers, optimizers, summary
from dovetail.errors import DefinitionError

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(16, 8, generator=GENERATOR)
Y = torch.randn(16, 1, generator=GENERATOR)


class Wide(nn.Module):
    """Keeps a lot for its backward pass, draws random numbers and has buffers."""

    def __init__(self):
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Linear(64, 8)
        self.drop = nn.Dropout(0.3)

    def forward(self, x, *, scale=1.0):
        return x + scale * self.down(self.drop(torch.tanh(self.norm(self.up(x)))))


def model_fn(features, labels, mode):
    h = features
    for _ in range(3):
        h = layers.layer(Wide)(h, scale=0.5)

    def tail(x):
        summary.scalar("tail", x.mean())
        return layers.fully_connected(x, 1, activation_fn=None)

    output = layers.block(tail, h)
    loss = F.mse_loss(output, labels)
    return dovetail.EstimatorSpec(mode, output, loss, optimizers.Adam(0.01).minimize(loss))


def built(*recompute, **settings):
    return dovetail.build(model_fn, example=(X, Y), device="cpu", recompute=recompute, **settings)


def trained(program, steps=3, **settings):
    for _ in range(steps):
        program.train_step(X, Y, **settings)
    return program


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("patterns", [["wide*"], ["wide_1", "tail"], ["wide.norm", "*.up"], ["*"]])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_buffers_and_steps_are_the_same(patterns, precision):
    plain = trained(built(precision=precision), parts=2)
    ours = trained(built(*patterns, precision=precision), parts=2)
    assert_same(ours.state(), plain.state())
    for (name, p), (_, q) in zip(
        ours.network.named_parameters(), plain.network.named_parameters(), strict=True
    ):
        assert torch.equal(p.grad, q.grad), name


def kept_bytes(program):
    """Return how many bytes a step's forward pass leaves for its backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    program.train_step(X, Y)
    own = {p.untyped_storage().data_ptr() for p in program.network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        program.network(X, Y)
    return sum(size for pointer, size in kept.items() if pointer not in own)


def test_fewer_bytes_are_kept():
    all_of_it, some, none = (kept_bytes(built(*names)) for names in (["wide*"], ["wide_1"], []))
    assert all_of_it < 0.25 * none
    assert all_of_it < some < none


def test_only_the_outermost_is_wrapped():
    program = built("wide*")
    wrapped = [n for n, m in program.network.named_modules() if "forward" in vars(m)]
    assert wrapped == ["wide", "wide_1", "wide_2"]


def test_evaluation_keeps_nothing_and_gives_the_same():
    ours, plain = trained(built("wide*")), trained(built())
    assert torch.equal(ours.eval_step(X, Y)["loss"], plain.eval_step(X, Y)["loss"])


def test_a_copied_network_uses_its_own_modules():
    program = built("wide")
    copied = copy.deepcopy(program.network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert copied.wide(X).abs().sum() == X.abs().sum()


def test_compiled_steps_are_those_of_eager_ones(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    plain = trained(built("wide", "wide_2"), summary=False)
    with torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True):
        ours = trained(built("wide", "wide_2", execution="compiled"), summary=False)
    torch._dynamo.reset()
    for name, tensor in plain.state().items():
        torch.testing.assert_close(ours.state()[name], tensor, msg=name)


def test_a_network_is_exported_as_without():
    program = built("wide*")
    program.eval_step(X, Y)
    program.network.summary_step = False
    with torch.no_grad():
        exported = torch.export.export(program.network, (X, Y), strict=False)
        ours = exported.module()(X, Y)["loss"]
        assert torch.equal(ours, program.network(X, Y)["loss"])


def test_a_pattern_that_matches_no_module_is_refused():
    with pytest.raises(DefinitionError, match=r"'wid' matches no module. Did you mean 'wide'"):
        built("wid")

"""Layers that are made once and found again."""

import copy
import threading

import pytest
import torch
from torch import nn

from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.store import Store, current_frame, entered

X = torch.ones(2, 3)


def names(store):
    return [name for name, _ in store.named_parameters() if name.endswith("weight")]


def run(store, function):
    with layers.scope(store):
        return function()


# Numbering and sharing


def test_layers_are_numbered_by_factory():
    with layers.scope() as store:
        for _ in range(2):
            layers.layer(nn.Linear, 3, 3)(X)
            layers.layer(nn.LayerNorm, 3)(X)
            layers.dense(X, 3)
    assert names(store) == [
        "linear.weight",
        "layernorm.weight",
        "fully_connected.weight",
        "linear_1.weight",
        "layernorm_1.weight",
        "fully_connected_1.weight",
    ]


def test_later_calls_find_the_layers_of_the_first():
    with layers.scope() as store:
        first = [layers.layer(nn.Linear, 3, 3) for _ in range(3)]
    assert run(store, lambda: [layers.layer(nn.Linear, 3, 3) for _ in range(3)]) == first
    assert len(set(first)) == 3


def test_the_same_name_twice_is_the_same_layer():
    with layers.scope():
        assert layers.layer(nn.Linear, 3, 3, name="a") is layers.layer(nn.Linear, 3, 3, name="a")


def test_numbers_go_round_names_that_the_user_gave():
    def call():
        return [
            layers.layer(nn.Linear, 3, 3),
            layers.layer(nn.Linear, 3, 3, name="linear_1"),
            layers.layer(nn.Linear, 3, 3),
        ]

    with layers.scope() as store:
        first = call()
    assert names(store) == ["linear.weight", "linear_1.weight", "linear_2.weight"]
    assert run(store, call) == first


def test_each_store_starts_fresh():
    with layers.scope() as one:
        layers.dense(X, 3)
    with layers.scope() as other:
        layers.dense(X, 3)
    assert names(one) == names(other)
    assert one.fully_connected is not other.fully_connected


def test_scopes_nest_and_are_left_after_an_error():
    with layers.scope() as outer:
        with pytest.raises(ZeroDivisionError), layers.scope():
            1 / 0  # noqa: B018
        assert current_frame().owner is outer
    with pytest.raises(DefinitionError, match="only be used inside a model_fn"):
        current_frame()


def test_each_thread_has_its_own_frame():
    errors = []

    def outside():
        try:
            layers.dense(X, 3)
        except DefinitionError as error:
            errors.append(str(error))

    with layers.scope():
        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()
    assert "only be used inside a model_fn" in errors[0]


# Layers without parameters


def test_layers_without_parameters_take_no_number():
    def call(extra):
        layers.layer(nn.ReLU)
        if extra:
            layers.layer(nn.ReLU)
        return layers.layer(nn.Linear, 3, 3), layers.layer(nn.Dropout, 0.5)

    with layers.scope() as store:
        first = call(extra=False)
    store.seal()
    assert run(store, lambda: call(extra=True)) == first
    assert names(store) == ["linear.weight"]


def test_layers_without_parameters_differ_by_arguments():
    with layers.scope():
        half, tenth = layers.layer(nn.Dropout, 0.5), layers.layer(nn.Dropout, 0.1)
        assert layers.layer(nn.Dropout, 0.5) is half
    assert (half.p, tenth.p) == (0.5, 0.1)


def test_layers_without_parameters_follow_train_and_eval():
    def call():
        return layers.layer(nn.Dropout, 0.5)(torch.ones(1, 64))

    with layers.scope() as store:
        assert not call().all()
    store.eval()
    assert run(store, call).all()
    store.train()
    assert not run(store, call).all()
    fresh = Store().eval()
    assert run(fresh, call).all()  # also if it is made in eval mode


# Modules from outside


def test_a_module_from_outside_becomes_part_of_the_store():
    module = nn.Linear(3, 3)
    with layers.scope() as store:
        assert layers.layer(module, name="head") is module
        assert layers.layer(module, name="head") is module
    assert run(store, lambda: layers.layer(module, name="head")) is module
    assert names(store) == ["head.weight"]


def test_a_module_made_anew_at_each_call_is_refused():
    def call():
        return layers.layer(nn.Linear(3, 3))

    with layers.scope() as store:
        call()
    with pytest.raises(DefinitionError, match="made inside model_fn is new at each call"):
        run(store, call)


def test_one_module_under_two_names_is_refused():
    module = nn.Linear(3, 3)
    with layers.scope():
        layers.layer(module, name="a")
        with pytest.raises(DefinitionError, match="already in the program as 'a'"):
            layers.layer(module, name="b")


# Blocks


def pair(x):
    return layers.dense(layers.dense(x, 3), 3)


def test_blocks_have_their_own_names():
    with layers.scope() as store:
        layers.block(pair, layers.block(pair, layers.dense(X, 3)))
        layers.block(pair, X, name="head")
    assert names(store) == [
        "fully_connected.weight",
        "pair.fully_connected.weight",
        "pair.fully_connected_1.weight",
        "pair_1.fully_connected.weight",
        "pair_1.fully_connected_1.weight",
        "head.fully_connected.weight",
        "head.fully_connected_1.weight",
    ]


def test_a_block_used_twice_by_name_shares_its_layers():
    with layers.scope() as store:
        first = layers.block(pair, X, name="shared")
        assert torch.equal(layers.block(pair, X, name="shared"), first)
    assert len(names(store)) == 2


def test_a_block_that_fails_gives_its_place_back():
    def broken(x):
        raise ZeroDivisionError

    with layers.scope() as store:
        with pytest.raises(ZeroDivisionError):
            layers.block(broken, X)
        assert current_frame().owner is store


@pytest.mark.parametrize("train", [True, False])
def test_recomputation_gives_the_same_gradients(train):
    def noisy(x):
        h = layers.dropout(layers.dense(x, 8), 0.5)
        return layers.dense(layers.batch_norm(h), 3, activation_fn=None)

    inputs = torch.randn(16, 3)

    def gradients(store, checkpoint):
        store.zero_grad()
        torch.manual_seed(5)
        with layers.scope(store):
            out = layers.block(noisy, inputs, checkpoint=checkpoint)
            out = layers.block(noisy, out, checkpoint=checkpoint)
        out.square().sum().backward()
        return [p.grad for p in store.parameters()]

    with layers.scope() as store:
        layers.block(noisy, layers.block(noisy, inputs))
    store.seal()
    store.train(train)
    plain = gradients(store, checkpoint=False)
    for one, two in zip(plain, gradients(store, checkpoint=True), strict=True):
        assert (one is None and two is None) or torch.equal(one, two)


def test_bare_torch_checkpoint_points_to_blocks():
    from torch.utils.checkpoint import checkpoint

    with layers.scope():
        out = checkpoint(pair, X.clone().requires_grad_(), use_reentrant=False)
    with pytest.raises(DefinitionError, match="checkpoint=True"):
        out.sum().backward()


# Sealing


def test_a_sealed_store_takes_no_new_layer_with_parameters():
    with layers.scope() as store:
        layers.dense(X, 3)
    store.seal()
    with pytest.raises(DefinitionError) as caught, layers.scope(store):
        layers.dense(layers.dense(X, 3), 3)
    message = str(caught.value)
    assert "'fully_connected_1' does not exist in this program" in message
    assert "its layers here: fully_connected" in message
    assert "test_store.py:" in message


def test_sealing_puts_buffers_back_to_their_first_values():
    with layers.scope() as store:
        layers.batch_norm(torch.randn(8, 3) + 5)
        assert store.batch_norm.running_mean.any()
        store.seal()
    assert not store.batch_norm.running_mean.any()
    assert store.batch_norm.running_var.tolist() == [1, 1, 1]
    assert store.batch_norm.num_batches_tracked == 0
    run(store, lambda: layers.batch_norm(torch.randn(8, 3) + 5))
    assert store.batch_norm.running_mean.any()  # later steps do count


def test_other_modes_may_use_a_subset():
    with layers.scope() as store:
        layers.dense(X, 3)
        layers.dense(X, 4, scope="auxiliary")
    store.seal()
    assert run(store, lambda: layers.dense(X, 3)).shape == (2, 3)


# Errors


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (lambda: layers.layer(nn.Linear, 3, 3), lambda: layers.layer(nn.Linear, 3, 4), "3, 4"),
        (
            lambda: layers.layer(nn.Linear, 3, 3, name="a"),
            lambda: layers.layer(nn.LayerNorm, 3, name="a"),
            "is a LayerNorm here, but was a Linear",
        ),
        (
            lambda: layers.layer(nn.Linear, 3, 3),
            lambda: layers.layer(nn.Linear, 3, 3, bias=False),
            "bias=False",
        ),
    ],
)
def test_a_changed_call_is_refused_with_both_places(first, then, expected):
    with layers.scope() as store:
        first()
    with pytest.raises(DefinitionError, match=expected) as caught:
        run(store, then)
    assert str(caught.value).count("test_store.py:") == 2


def test_functions_made_anew_at_each_call_are_the_same_argument():
    def call():
        return layers.dense(X, 3, weights_initializer=lambda w: w.fill_(2))

    with layers.scope() as store:
        first = call()
    assert torch.equal(run(store, call), first)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: layers.layer(3), "takes a class or function"),
        (lambda: layers.layer(lambda: 3), "must return a torch.nn.Module"),
        (lambda: layers.layer(nn.Linear(3, 3), 4), "takes none here"),
        (lambda: layers.layer(nn.Linear, 3, 3, name="a.b"), "hold a dot"),
        (lambda: layers.layer(nn.Linear, 3, 3, name="train"), "can't be named 'train'"),
    ],
)
def test_senseless_layers_are_refused_with_the_line(call, expected):
    with pytest.raises(DefinitionError, match=expected) as caught, layers.scope():
        call()
    assert "test_store.py:" in str(caught.value)


# Copies


def test_a_copied_store_stands_alone():
    def call():
        h = layers.block(pair, layers.batch_norm(X))
        return layers.layer(nn.ReLU)(layers.dense(h, 3))

    with layers.scope() as store:
        call()
    twin = copy.deepcopy(store)
    assert names(twin) == names(store)
    torch.testing.assert_close(run(twin, call), run(store, call))
    with torch.no_grad():
        twin.fully_connected.weight.zero_()
    assert store.fully_connected.weight.any()
    twin.seal()
    assert not store.sealed
    assert twin.pair.root[0] is twin
    run(store, lambda: layers.dense(layers.dense(X, 3), 3))  # may grow still
    with pytest.raises(DefinitionError, match="does not exist"):
        run(twin, lambda: layers.dense(layers.dense(X, 3), 3))


def test_a_copied_store_still_knows_a_module_from_outside():
    module = nn.Linear(3, 3)
    with layers.scope() as store:
        layers.layer(module, name="head")
    twin = copy.deepcopy(store)
    found = run(twin, lambda: layers.layer(module, name="head"))
    assert found is twin.head is not module


# Tracing


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.store = Store()

    def forward(self, x):
        with entered(self.store):
            h = layers.layer(nn.Linear, 3, 8)(x)
            h = layers.layer(nn.Dropout, 0.5)(layers.layer(nn.ReLU)(h))
            return {"out": layers.block(pair, h)}


@pytest.mark.parametrize("train", [True, False])
def test_layers_and_blocks_compile_in_one_graph(train):
    torch._dynamo.reset()
    net = Net()
    net(X)
    net.store.seal()
    net.train(train)
    torch.manual_seed(0)
    plain = net(X)["out"]
    torch.manual_seed(0)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(X)["out"], plain)


def test_blocks_that_are_recomputed_compile_in_one_graph(monkeypatch):
    torch._dynamo.reset()
    flag = "skip_fwd_side_effects_in_bwd_under_checkpoint"
    monkeypatch.setattr(torch._dynamo.config, flag, True)

    def forward(store, x):
        with entered(store):
            return layers.block(pair, x, checkpoint=True)

    with layers.scope() as store:
        layers.block(pair, X)
    store.seal()
    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    results = []
    for call in (forward, compiled):
        store.zero_grad()
        call(store, X).sum().backward()
        results.append([p.grad for p in store.parameters()])
    torch.testing.assert_close(results[0], results[1])


def test_fake_tensors_build_a_store_without_memory():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        net = Net()
        out = net(torch.ones(2, 3))["out"]
    assert out.shape == (2, 3)
    assert names(net.store)[0] == "linear.weight"


def test_layers_without_state_of_different_factories_stay_different():
    with layers.scope():
        first = layers.layer(lambda: nn.ReLU())
        second = layers.layer(lambda: nn.Tanh())
        third = layers.layer(lambda: nn.Linear(3, 3))
    assert (type(first), type(second), type(third)) == (nn.ReLU, nn.Tanh, nn.Linear)


def test_functions_are_the_same_layer_only_if_what_they_enclose_is():
    def dropout(p: float):
        return layers.layer(lambda: nn.Dropout(p))

    with layers.scope():
        assert dropout(0.1).p == 0.1
        assert dropout(0.5).p == 0.5


def test_instances_without_state_are_used_as_they_are():
    with layers.scope() as store:
        assert layers.layer(nn.Dropout(0.1)).p == 0.1
        assert layers.layer(nn.Dropout(0.5)).p == 0.5
    assert list(store.children()) == []


def test_one_factory_may_make_layers_with_and_without_state():
    with layers.scope() as store:
        layers.layer(nn.Sequential)
        layers.layer(nn.Sequential, nn.Linear(3, 3), name="head")
        layers.layer(nn.ReLU)
        layers.layer(nn.Linear, 3, 3, name="relu")
    assert [n for n, _ in store.named_parameters()] == [
        "head.0.weight",
        "head.0.bias",
        "relu.weight",
        "relu.bias",
    ]


def test_a_shared_blocks_penalty_counts_once():
    def dense(x):
        return layers.fully_connected(x, 3, weights_regularizer=layers.l2_loss)

    with layers.scope() as store:
        x = layers.block(dense, torch.ones(2, 3), name="shared")
        layers.block(dense, x, name="shared")
        total = layers.regularization_loss()
    weight = store.get_parameter("shared.fully_connected.weight")
    torch.testing.assert_close(total, (weight**2).sum() / 2)


def test_arguments_that_are_arrays_or_tensors_are_compared_by_value():
    def cross_entropy(weight):
        return layers.layer(nn.CrossEntropyLoss, weight=weight, name="loss")

    with layers.scope() as store:
        cross_entropy(torch.ones(3))
    with layers.scope(store):
        cross_entropy(torch.ones(3))
    with layers.scope(store), pytest.raises(DefinitionError, match="layer 'loss' is asked for"):
        cross_entropy(torch.zeros(3))


def test_layers_made_in_a_store_in_eval_mode_are_in_eval_mode():
    with layers.scope() as store:
        store.eval()
        made = layers.layer(nn.Sequential, nn.Linear(3, 3), nn.Dropout(0.5), name="net")
    assert not made.training

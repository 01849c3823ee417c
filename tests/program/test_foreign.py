"""Parameters that the loss depends on and the program does not hold."""

import pytest
import torch
from torch import nn

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DefinitionError
from dovetail.program.foreign import check_loss

X = torch.ones(2, 3)


def spec(mode, loss):
    return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss))


def refusal(model_fn):
    program = dovetail.build(model_fn, device="cpu")
    with pytest.raises(DefinitionError) as caught:
        program.train_step(X)
    return str(caught.value)


def test_a_module_made_inside_model_fn_is_named_with_the_cure():
    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 3, 3)(features)
        return spec(mode, nn.Linear(3, 1)(h).mean())

    message = refusal(model_fn)
    assert "'weight' (shape [1, 3]) of Linear(in_features=3, out_features=1, bias=True)" in message
    assert "made inside model_fn" in message
    assert "layers.layer(torch.nn.Linear, ...)(x) instead of torch.nn.Linear(...)(x)" in message
    assert "test_foreign.py:" in message


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))

    def forward(self, x):
        return self.layers(x)


def test_of_a_nested_module_the_whole_is_to_be_given_to_layer():
    def model_fn(features, labels, mode):
        net = Two()
        return spec(mode, net(layers.layer(nn.Linear, 3, 3)(features)).mean())

    assert "layers.layer(Two, ...)(x) instead of Two(...)(x)" in refusal(model_fn)


def test_a_module_made_anew_for_layer_is_refused_at_the_second_step():
    def model_fn(features, labels, mode):
        return spec(mode, layers.layer(nn.Linear(3, 1))(features).mean())

    program = dovetail.build(model_fn, example=(X, None), device="cpu")
    with pytest.raises(DefinitionError, match="made inside model_fn is new at each call"):
        program.train_step(X)


def test_a_module_from_outside_that_is_not_registered_is_refused():
    outside = nn.Sequential(nn.Linear(3, 1))

    def model_fn(features, labels, mode):
        return spec(mode, outside(layers.layer(nn.Linear, 3, 3)(features)).mean())

    assert "layers.layer(the_module, name='...')" in refusal(model_fn)


def test_a_bare_parameter_is_refused_with_its_shape():
    def model_fn(features, labels, mode):
        weight = nn.Parameter(torch.ones(3))
        return spec(mode, (layers.layer(nn.Linear, 3, 3)(features) * weight).mean())

    message = refusal(model_fn)
    assert "a parameter of shape [3]" in message
    assert "layers.get_variable(name, shape)" in message


def test_recomputed_blocks_hide_no_parameter():
    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 3, 3)(features)
        h = layers.block(lambda x: nn.Linear(3, 1)(x), h, name="block", checkpoint=True)
        return spec(mode, h.mean())

    assert "layers.layer(torch.nn.Linear, ...)" in refusal(model_fn)


def test_a_loss_cut_off_from_the_layers_is_refused():
    def model_fn(features, labels, mode):
        return spec(mode, layers.layer(nn.Linear, 3, 1)(features).mean().detach())

    assert "without .detach(), .numpy()" in refusal(model_fn)


def test_a_model_without_layers_has_nothing_to_train():
    message = refusal(lambda features, labels, mode: spec(mode, features.mean()))
    assert "nothing to train" in message
    assert "dovetail.layers" in message


def test_frozen_modules_and_leaves_that_are_no_parameters_pass():
    frozen = nn.Linear(3, 3).requires_grad_(False)

    def model_fn(features, labels, mode):
        noise = torch.zeros(2, 3, requires_grad=True)  # as adversarial training has it
        return spec(mode, layers.layer(nn.Linear, 3, 1)(frozen(features) + noise).mean())

    dovetail.build(model_fn, device="cpu").train_step(X)


def test_every_train_ops_loss_is_looked_at():
    network = nn.Linear(3, 1)
    check_loss(network, "one", network(X).mean())
    with pytest.raises(DefinitionError, match="train_op 'two'"):
        check_loss(network, "two", X.mean())


FORGETFUL = """
import torch
from dovetail import optimizers

class Forgetful(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 3)

    def forward(self, x):
        return torch.nn.Linear(3, 1)(self.first(x))

model = Forgetful
def loss(output, labels): return output.mean()
def optimizer(): return optimizers.SGD(0.1)
"""


def test_a_module_made_inside_forward_is_named_with_its_class(tmp_path):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    message = refusal(tmp_path / "forgetful.py")
    assert "forgetful.py:11: " in message
    assert "made inside Forgetful.forward" in message
    assert "Make it in Forgetful.__init__, as self.name = torch.nn.Linear(...)" in message


def test_a_keras_layer_made_inside_call_is_named_at_the_users_line():
    keras = pytest.importorskip("keras")

    class Late(keras.Model):
        def call(self, x):
            return keras.layers.Dense(1)(x)

    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 3, 3)(features)
        return spec(mode, layers.layer(Late)(h).mean())

    message = refusal(model_fn)
    assert "test_foreign.py:" in message
    assert "made inside Late.call" in message
    assert "Make it in Late.__init__, as self.name = Dense(...)" in message


def test_a_torch_parameter_of_a_keras_model_is_refused_with_what_keras_counts():
    keras = pytest.importorskip("keras")

    class Bare(keras.Model):
        def __init__(self):
            super().__init__(name="bare")
            self.scale = nn.Parameter(torch.ones(3))

        def call(self, x):
            return x * self.scale

    def model_fn(features, labels, mode):
        h = layers.layer(nn.Linear, 3, 3)(features)
        return spec(mode, layers.layer(Bare)(h).mean())

    message = refusal(model_fn)
    assert "'scale' (shape [3]), a torch parameter of the Keras Bare 'bare'" in message
    assert "self.add_weight(shape=..., name='scale')" in message


def test_a_keras_model_made_outside_and_called_bare_is_told_of_layers_layer():
    keras = pytest.importorskip("keras")
    encoder = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)], name="encoder")

    def model_fn(features, labels, mode):
        loss = encoder(features).mean()
        return dovetail.EstimatorSpec(mode, loss=loss, train_op=optimizers.SGD(0.1).minimize(loss))

    with pytest.raises(DefinitionError, match=r"model made outside of it: layers\.layer\(the_mo"):
        dovetail.build(model_fn, example=(torch.ones(2, 3), None), device="cpu")

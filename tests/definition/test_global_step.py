"""The number of finished steps, inside a model_fn."""

import pytest
import torch

import dovetail
from dovetail import layers
from dovetail.errors import DefinitionError
from dovetail.layers.store import Store, entered


def test_by_hand_no_step_is_finished():
    with layers.scope():
        step = dovetail.get_global_step()
    assert (step.dtype, step.shape, int(step)) == (torch.int64, (), 0)


def test_blocks_see_the_step_of_the_program():
    store = Store()
    store.register_buffer("global_step", torch.tensor(7))
    with entered(store):
        assert layers.block(dovetail.get_global_step) == 7


def test_the_value_stays_when_the_program_goes_on():
    store = Store()
    store.register_buffer("global_step", torch.tensor(7))
    with entered(store):
        step = dovetail.get_global_step()
    store.global_step.fill_(8)
    assert step == 7


def test_outside_a_model_fn_there_is_none():
    with pytest.raises(DefinitionError, match="only be used inside a model_fn"):
        dovetail.get_global_step()


def test_a_layer_of_that_name_is_told():
    with layers.scope():
        layers.layer(torch.nn.Linear, 2, 2, name="global_step")
        with pytest.raises(DefinitionError, match="taken by a layer"):
            dovetail.get_global_step()

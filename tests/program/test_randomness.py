"""Randomness from (seed, step, part)."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import dovetail
from dovetail import layers, optimizers
from dovetail.program.randomness import derive, kept_generators, seed_generators, seeded


def test_derived_seeds_do_not_change_between_versions():
    # The second number of the reference SplitMix64 that starts at 0.
    assert derive(0) == 0x6E789E6AA1B965F4 >> 1
    assert [derive(0, 0), derive(0, 1), derive(1, 0), derive(2**70, 5, 3)] == [
        2547805098422156800,
        1991035113953453139,
        8580387380343249550,
        7955885007791607407,
    ]


def test_derived_seeds_differ_and_are_spread():
    seeds = {
        derive(seed, step, part) for seed in range(8) for step in range(64) for part in range(8)
    }
    assert len(seeds) == 8 * 64 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = np.array([[seed >> i & 1 for i in range(63)] for seed in seeds])
    assert abs(bits.mean(0) - 0.5).max() < 0.05


@pytest.mark.parametrize("seed", [0, 3, -1, 2**40])
def test_seeded_blocks_give_the_same_and_leave_no_trace(seed):
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    with kept_generators():
        expected = draws()
    with seeded(seed):
        first = draws()
    with seeded(seed):
        assert draws() == first
    assert draws() == expected


def test_generators_are_put_back_after_an_error():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(5):
        1 / 0  # noqa: B018
    assert torch.equal(torch.get_rng_state(), state)


def test_one_seeding_is_like_another():
    cpu = torch.device("cpu")
    seed_generators(cpu, 1, 2)
    one = torch.rand(3)
    seed_generators(cpu, 1, 2)
    assert torch.equal(torch.rand(3), one)
    seed_generators(cpu, 2, 1)
    assert not torch.equal(torch.rand(3), one)


# Masks of dropout


def masks_of(program, steps, parts=1):
    """Return each step's and part's mask, as the weights' gradient shows it."""
    seen = []
    forward = program.network.forward

    def watching(*args):
        output = forward(*args)
        seen.append(tuple((output["predictions"]["output"] != 0).flatten().tolist()))
        return output

    program.network.forward = watching
    for _ in range(steps):
        program.train_step(torch.ones(8, 16), parts=parts)
    program.network.forward = forward
    return seen


def model_fn(features, labels, mode):
    h = layers.dropout(layers.layer(nn.Linear, 16, 16)(features), 0.5)
    loss = h.mean()
    return dovetail.EstimatorSpec(mode, h, loss, optimizers.SGD(0.0).minimize(loss))


def built(seed=0):
    return dovetail.build(model_fn, example=(torch.ones(8, 16), None), device="cpu", seed=seed)


def test_masks_depend_on_seed_step_and_part_alone():
    masks = masks_of(built(), 4)
    assert len(set(masks)) == 4
    torch.manual_seed(99)
    resumed = built()
    resumed.global_step = 2
    assert masks_of(resumed, 2) == masks[2:]
    assert masks_of(built(seed=1), 4) != masks


def test_parts_have_masks_of_their_own():
    in_parts = masks_of(built(), 3, parts=2)
    assert len(set(in_parts)) == 6
    resumed = built()
    resumed.global_step = 1
    assert masks_of(resumed, 2, parts=2) == in_parts[2:]
    whole = masks_of(built(), 1)
    assert whole[0][: len(in_parts[0])] == in_parts[0]  # the first part starts as the whole does


def test_randomness_in_evaluation_depends_on_the_batch_and_not_on_history():
    def noisy(features, labels, mode):
        h = layers.dropout(layers.layer(nn.Linear, 16, 16)(features), 0.5, is_training=True)
        loss = h.mean()
        return dovetail.EstimatorSpec(mode, h, loss, optimizers.SGD(0.0).minimize(loss))

    program = dovetail.build(noisy, example=(torch.ones(8, 16), None), device="cpu")
    x = torch.ones(8, 16)
    first = [program.eval_step(x, batch=i)["loss"].item() for i in range(3)]
    torch.rand(10)
    assert [program.eval_step(x, batch=i)["loss"].item() for i in range(3)] == first
    assert len(set(first)) == 3
    assert program.predict_step(x)["predictions"]["output"].mean().item() not in first

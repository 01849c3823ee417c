"""FTRL against the paper's algorithm in numpy, and against Adagrad where they are the same."""

import numpy as np
import pytest
import torch
from torch import nn

from dovetail.definition.ftrl import FtrlProximal
from dovetail.definition.optimizers import Ftrl, ParamGroup, schedules, set_learning_rates


def papers_weights(gradients, alpha, beta, l1, l2):
    """McMahan et al. (2013), algorithm 1, per coordinate: weights after all the gradients.

    `gradients` is a function from the weights and the step to a gradient.
    """
    z, n = np.zeros(6), np.zeros(6)

    def weights():
        w = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2)
        return np.where(np.abs(z) <= l1, 0.0, w)

    for step in range(25):
        w = weights()
        g = gradients(w, step)
        sigma = (np.sqrt(n + g * g) - np.sqrt(n)) / alpha
        z += g - sigma * w
        n += g * g
    return weights()


@pytest.mark.parametrize(
    ("beta", "l1", "l2"), [(1.0, 0.0, 0.0), (1.0, 4.0, 0.0), (0.5, 0.0, 0.3), (1.0, 3.0, 0.2)]
)
def test_weights_are_those_of_the_papers_algorithm(beta, l1, l2):
    rows = np.random.default_rng(3).normal(size=(25, 6))
    goal = np.array([1.0, -2.0, 0.5, 0.0, 0.1, -0.05])

    def gradients(w, step):
        return (rows[step] @ (w - goal)) * rows[step]

    theirs = papers_weights(gradients, 0.3, beta, l1, l2)
    weight = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    description = Ftrl(
        0.3,
        beta=beta,
        initial_accumulator_value=0.0,
        l1_regularization_strength=l1,
        l2_regularization_strength=l2,
    )
    optimizer = description.build([("w", weight)])
    for step in range(25):
        weight.grad = torch.from_numpy(gradients(weight.detach().numpy(), step))
        set_learning_rates(description, optimizer, step)
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), theirs, rtol=0, atol=1e-6)
    assert (l1 > 0) == bool((theirs == 0).any())
    np.testing.assert_array_equal(weight.detach().numpy() == 0, theirs == 0)


@pytest.mark.parametrize("rate", [0.2, schedules.WarmUp(schedules.Linear(0.3, 10, 0.01), 3)])
def test_without_regularization_any_start_and_any_rate_it_is_adagrad(rate):
    start = torch.tensor([1.0, -3.0, 0.2], dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    description = Ftrl(rate, beta=0.05)
    ftrl = description.build([("w", ours)])
    adagrad = torch.optim.Adagrad([theirs], lr=1.0, initial_accumulator_value=0.1, eps=0.05)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        ours.grad = torch.randn(3, dtype=torch.float64, generator=generator)
        theirs.grad = ours.grad.clone()
        adagrad.param_groups[0]["lr"] = set_learning_rates(description, ftrl, step)
        ftrl.step()
        adagrad.step()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_learning_rate_of_0_moves_nothing_and_the_next_step_goes_on():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = FtrlProximal([weight], lr=0.0, initial_accumulator_value=0.0)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    assert weight.item() == 1.0
    optimizer.param_groups[0]["lr"] = 0.5
    weight.grad = torch.tensor([4.0])
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.5 * 4 / 5)


def test_a_coordinate_without_a_gradient_keeps_its_weight():
    weight = nn.Parameter(torch.tensor([0.3, 0.7]))
    optimizer = FtrlProximal([weight], lr=0.5, initial_accumulator_value=0.0)
    for _ in range(3):
        weight.grad = torch.tensor([0.0, 1.0])
        optimizer.step()
    assert weight[0].item() == pytest.approx(0.3)
    assert weight[1].item() < 0.7


def test_its_state_is_saved_and_loaded():
    def stepped(weight, optimizer, gradients):
        for gradient in gradients:
            weight.grad = torch.tensor(gradient)
            optimizer.step()
        return weight

    gradients = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.1], [-1.0, 1.0]]
    whole = nn.Parameter(torch.tensor([0.5, -0.5]))
    stepped(whole, FtrlProximal([whole], lr=0.1), gradients)
    first = nn.Parameter(torch.tensor([0.5, -0.5]))
    optimizer = FtrlProximal([first], lr=0.1)
    stepped(first, optimizer, gradients[:2])
    second = nn.Parameter(first.detach().clone())
    resumed = FtrlProximal([second], lr=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    assert torch.equal(stepped(second, resumed, gradients[2:]), whole)


def test_a_groups_weight_decay_is_its_l2_strength():
    weight = nn.Parameter(torch.ones(2))
    description = Ftrl(l2_regularization_strength=0.5, groups=[ParamGroup("w", weight_decay=0.0)])
    group = description.build([("w", weight)]).param_groups[0]
    assert group["l2_regularization_strength"] == 0.0


def test_a_closure_gives_its_loss():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = FtrlProximal([weight], lr=0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert weight.item() < 1.0


def test_sparse_gradients_are_refused():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2).to_sparse()
    with pytest.raises(RuntimeError, match="dense gradients"):
        FtrlProximal([weight]).step()

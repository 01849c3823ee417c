"""A program's network over two processes: DDP and FSDP2 give what one process gives."""

import importlib.util
from pathlib import Path

import pytest
import torch

_spec = importlib.util.spec_from_file_location("ranks", Path(__file__).with_name("ranks.py"))
ranks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ranks)


@pytest.mark.parametrize("case", ["ddp", "ddp_static"])
def test_gradients_under_ddp_are_those_of_the_whole_batch(case, tmp_path):
    network = ranks.built().network
    for step, (mine, yours) in enumerate(zip(*ranks.run(case, tmp_path), strict=True)):
        network.zero_grad()
        network(*ranks.batch(step))["train_losses"]["optimizer"].backward()
        whole = {name: p.grad for name, p in network.named_parameters()}
        torch.testing.assert_close(mine, whole, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(mine, yours, rtol=0, atol=0)


def test_steps_of_sharded_blocks_are_those_of_the_whole_model(tmp_path):
    program = ranks.built()
    for step in range(3):
        program.train_step(*ranks.batch(step))
    named = dict(program.network.named_parameters())
    expected = {name: p.grad for name, p in named.items()}, program.state()
    for gradients, parameters in ranks.run("fsdp", tmp_path):
        torch.testing.assert_close(gradients, expected[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(parameters, dict(expected[1]), rtol=1e-5, atol=1e-6)

"""A program's network over two processes: DDP and FSDP2 give what one process gives."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ranks.py")
_spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
ranks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ranks)


def run(case, folder):
    """Run a case in two processes and return what each saved."""
    outputs = [folder / f"{rank}.pt" for rank in range(ranks.WORLD)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", SCRIPT, case, str(rank), folder / "meeting", output],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        errors = [process.communicate(timeout=90)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [torch.load(output, weights_only=True) for output in outputs]


@pytest.mark.parametrize("case", ["ddp", "ddp_static"])
def test_gradients_under_ddp_are_those_of_the_whole_batch(case, tmp_path):
    network = ranks.built().network
    for step, (mine, yours) in enumerate(zip(*run(case, tmp_path), strict=True)):
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
    for gradients, parameters in run("fsdp", tmp_path):
        torch.testing.assert_close(gradients, expected[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(parameters, dict(expected[1]), rtol=1e-5, atol=1e-6)

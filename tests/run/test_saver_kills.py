"""A process that is killed while it saves leaves only checkpoints that load, each of its step."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from dovetail.run import checkpoint, checkpoint_files

SAVE = """
import sys, torch, dovetail
from dovetail import layers, optimizers
from dovetail.run.config import RunConfig
from dovetail.run.saver import Saver

def model_fn(features, labels, mode):
    y = layers.fully_connected(features, 20000, activation_fn=None, scope="a")
    loss = y.mean()
    return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))

x = torch.ones(2, 8)
program = dovetail.build(model_fn, example=(x, None), device="cpu")
saver = Saver(program, sys.argv[1], RunConfig(keep_checkpoint_max=3))
program.before_update = lambda loss: saver.settle()
program.global_step = int(sys.argv[2])
while True:
    program.train_step(x, None)
    with torch.no_grad():  # what the step's number says, so that another process can check it
        for tensor in program.state().values():
            tensor.fill_(program.global_step)
    saver.save(program.global_step)
    for path in saver.saved():
        print(path.name, flush=True)
"""


def test_kills_at_any_moment_leave_only_checkpoints_that_load(tmp_path: Path, soak: bool) -> None:
    chance = random.Random(4)
    step = 0
    for _ in range(100 if soak else 2):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE, str(tmp_path), str(step)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(chance.randrange(1, 6))]
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        listed = checkpoint.listed(tmp_path)
        for path in listed:
            loaded = checkpoint.load(path)
            for tensor in loaded.model.values():
                assert torch.equal(tensor, torch.full_like(tensor, loaded.step))
        newest = checkpoint.load(listed[-1]).step
        assert newest >= int(told[-1]), "what was told to be saved is there"
        step = newest
    checkpoint_files.settle(checkpoint_files.folder_of(tmp_path))
    left = sorted(p.name for p in checkpoint_files.folder_of(tmp_path).iterdir())
    assert left == [p.name for p in checkpoint.listed(tmp_path)]

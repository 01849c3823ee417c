"""Trains under row logs, forked, each time until an alarm kills it; once nothing kills it, done.

    python logged_run.py MODEL_DIR RECORDS KILLS SEED

Forks come before any tensor is computed in this process, with one thread, so that they are safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback

import torch

import dovetail
from dovetail import hooks, layers, metrics, optimizers
from dovetail.run import train as loaded  # noqa: F401  # before forks, for all of them

STEPS = 120


def model_fn(features, labels, mode, params):
    x = layers.dropout(layers.fully_connected(features["x"], 4), keep_prob=0.5)
    y = layers.fully_connected(x, 1, activation_fn=None)
    loss = torch.mean((y - labels) ** 2)
    error = metrics.mean_absolute_error(labels, y)
    train_op = optimizers.SGD(0.01).minimize(loss)
    return dovetail.EstimatorSpec(mode, {"y": y}, loss, train_op, {"error": error})


def train(model_dir, records):
    config = dovetail.RunConfig(
        device="cpu", progress=False, save_checkpoints_steps=20, save_summary_steps=7
    )
    estimator = dovetail.Estimator(model_fn, model_dir, config, {"batch_size": 4})
    logs = [hooks.CsvLog(every_steps=1), hooks.JsonLinesLog(every_steps=1)]
    estimator.train(records, hooks=logs, max_steps=STEPS)


def forked(model_dir, records, seconds):
    """Train in a fork that dies after some seconds; return whether it reached its end."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds)
            train(model_dir, records)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a run failed by itself")
    return os.WIFEXITED(status)


def main():
    model_dir, records, kills, seed = sys.argv[1:]
    rng, struck = random.Random(seed), 0
    began = time.monotonic()
    forked(f"{model_dir}_whole", records, None)
    takes = time.monotonic() - began
    while struck < int(kills):
        trial = f"{model_dir}_{struck}"
        while struck < int(kills) and not forked(trial, records, rng.uniform(0.2, 0.9) * takes):
            struck += 1
        forked(trial, records, None)
        print(trial)


if __name__ == "__main__":
    main()

"""A run on an iterable without positions, in fp16: python iterable_run.py MODEL_DIR STEPS.

Its input draws from random, numpy and torch; when it is resumed it is drawn again up to where the
run stood.
"""

import random
import sys

import numpy as np
import torch

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator


def model_fn(features, labels, mode):
    value = layers.fully_connected(features["x"], 12)
    value = layers.dropout(layers.batch_norm(value), keep_prob=0.7)
    logits = layers.fully_connected(value, 4, activation_fn=None)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return dovetail.EstimatorSpec(
        mode,
        logits,
        loss,
        optimizers.AdamW(optimizers.schedules.Cosine(0.01, 60)).minimize(loss),
        {"accuracy": metrics.accuracy(labels, logits.argmax(1))},
    )


def input_fn():
    while True:
        x = torch.from_numpy(np.random.normal(size=(6, 16)).astype("float32")) * random.random()
        x = x + 0.1 * torch.randn(6, 16)
        yield {"x": x}, x[:, :4].argmax(1)


def main():
    config = RunConfig(
        sys.argv[1],
        device="cpu",
        seed=5,
        precision="fp16",
        ema_decay=0.9,
        unpositioned_input="fast_forward",
        save_checkpoints_steps=3,
        save_summary_steps=1,
        log_step_count_steps=1,
    )
    Estimator(model_fn, config=config).train(input_fn, max_steps=int(sys.argv[2]))


if __name__ == "__main__":
    main()

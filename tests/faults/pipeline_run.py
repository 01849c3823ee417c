"""A run fed by a pipeline that works ahead in threads: python pipeline_run.py MODEL_DIR STEPS."""

import sys

import numpy as np
import torch

import dovetail
from dovetail import layers, metrics, optimizers
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator


class Pictures(dovetail.ImagesBatch):
    components = "images", "labels"


def model_fn(features, labels, mode):
    value = layers.fully_connected(layers.flatten(features["images"].float() / 255), 12)
    value = layers.dropout(layers.batch_norm(value), keep_prob=0.7)
    logits = layers.fully_connected(value, 4, activation_fn=None)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return dovetail.EstimatorSpec(
        mode,
        logits,
        loss,
        optimizers.Adam(0.01).minimize(loss),
        {"accuracy": metrics.accuracy(labels, logits.argmax(1))},
    )


def input_fn():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 6, 6, 1), np.uint8)
    dataset = dovetail.Dataset(50, Pictures, preloaded=(images, np.arange(50) % 4))
    pipeline = dataset.p.random_rotate(angle=(-20, 20)) @ 0.5
    pipeline = pipeline.flip(p=0.5).crop((5, 5), "random").noise(4).rebatch(6)
    return pipeline.feed({"images": "images"}, "labels", 8, shuffle=True, n_epochs=None, prefetch=3)


def main():
    config = RunConfig(
        sys.argv[1],
        device="cpu",
        seed=5,
        save_checkpoints_steps=3,
        save_summary_steps=1,
        log_step_count_steps=1,
    )
    Estimator(model_fn, config=config).train(input_fn, max_steps=int(sys.argv[2]))


if __name__ == "__main__":
    main()

"""scikit-learn's handwritten digits, as batches: every fifth image is for testing."""

import numpy as np
from sklearn.datasets import load_digits


def digits(for_testing):
    """Return images [n, 8, 8] in [0, 1] and labels [n]."""
    found = load_digits()
    chosen = (np.arange(len(found.target)) % 5 == 0) == for_testing
    return found.images[chosen].astype(np.float32) / 16, found.target[chosen].astype(np.int64)


def batches(images, labels, order, batch_size):
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield {"image": images[chosen]}, labels[chosen]


def train_input_fn(params):
    images, labels = digits(for_testing=False)
    random = np.random.default_rng(params.train_input.shuffle_seed)
    for _ in range(params.train_input.epochs):
        yield from batches(
            images, labels, random.permutation(len(labels)), params.train_input.batch_size
        )


def eval_input_fn(params):
    images, labels = digits(for_testing=True)
    yield from batches(images, labels, np.arange(len(labels)), params.eval_input.batch_size)


def predict_input_fn(params):
    images, _ = digits(for_testing=True)
    for start in range(0, len(images), params.predict_input.batch_size):
        yield {"image": images[start : start + params.predict_input.batch_size]}

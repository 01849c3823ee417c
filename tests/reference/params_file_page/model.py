"""The params-file page's model.py: its signature and its spec, with a body in torch."""

import torch
from torch.nn import functional as F

from dovetail import CSEstimatorSpec, EstimatorSpec, ModeKeys, layers, metrics, optimizers


def model_fn(features, labels, mode, params) -> EstimatorSpec:
    x = features["x"] if isinstance(features, dict) else features
    x = layers.fully_connected(x, params["model"]["hidden_size"], activation_fn=torch.tanh)
    logits = layers.fully_connected(x, params["model"]["num_classes"], activation_fn=None)
    if mode == ModeKeys.PREDICT:
        assert labels is None  # as the page promises
        return CSEstimatorSpec(mode=mode, predictions={"logits": logits})
    labels = labels["y"] if isinstance(labels, dict) else labels
    loss = F.cross_entropy(logits, labels)
    optimizer = optimizers.from_params(params["optimizer"])
    return CSEstimatorSpec(
        mode=mode,
        loss=loss,
        train_op=optimizer.minimize(loss),
        host_call={"accuracy": metrics.accuracy(labels, logits.argmax(1))},
    )

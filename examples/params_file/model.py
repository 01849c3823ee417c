"""Handwritten digits by a params file: the model function.

dovetail run --params examples/params_file/configs/params.yaml --mode train_and_eval
"""

from dataclasses import dataclass

from torch.nn import functional

from dovetail import CSEstimatorSpec, ModeKeys, layers, metrics, optimizers


@dataclass
class ModelParams:
    """The section `model` of the params file: a key that is not here is refused, with its line."""

    hidden_sizes: tuple[int, ...] = (128,)
    keep_prob: float = 1.0
    num_classes: int = 10


def model_fn(features, labels, mode, params):
    x = layers.flatten(features["image"])
    for size in params.model.hidden_sizes:
        x = layers.fully_connected(x, size)
        x = layers.dropout(x, params.model.keep_prob)
    logits = layers.fully_connected(x, params.model.num_classes, activation_fn=None)
    predictions = {"class": logits.argmax(-1), "probabilities": logits.softmax(-1)}
    if mode == ModeKeys.PREDICT:
        return CSEstimatorSpec(mode=mode, predictions=predictions)
    loss = functional.cross_entropy(logits, labels)
    train_op = optimizers.from_params(params.optimizer).minimize(loss)
    host_call = {"accuracy": metrics.accuracy(labels=labels, predictions=predictions["class"])}
    return CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op, host_call=host_call)

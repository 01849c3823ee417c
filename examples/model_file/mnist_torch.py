"""MNIST with a torch model of modules in sequence; see mnist_functional_api.py for the commands."""

from torch import nn

from dovetail import metrics, optimizers
from dovetail.data.readers.mnist import Mnist

model = nn.Sequential(
    nn.Unflatten(1, (1, 28)),  # [batch, 28, 28] to [batch, channel, height, width]
    nn.Conv2d(1, 32, 3),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3),
    nn.ReLU(),
    nn.BatchNorm2d(64),
    nn.MaxPool2d(2),
    nn.Dropout(0.25),
    nn.Flatten(),
    nn.Linear(64 * 12 * 12, 10),
)


def custom_data_reader():
    return Mnist()


def data_schema():
    return [
        {"name": "image", "shape": [28, 28], "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def input_fn(records):
    return {"image": records["image"]}, records["label"]


def preprocess(features):
    return {"image": features["image"].float() / 255}


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels.flatten())


def optimizer(lr=0.1):
    return optimizers.SGD(lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels.flatten(), predictions.argmax(dim=1))}

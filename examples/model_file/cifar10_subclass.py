"""CIFAR-10 with a Keras model by subclassing; see cifar10_functional_api.py for the commands."""

import keras
import torch

from dovetail import metrics
from dovetail.data.readers.cifar import Cifar10


class ConvBlock(keras.layers.Layer):
    """Two convolutions of one width, each normalised, then a smaller image."""

    def __init__(self, width):
        super().__init__()
        self._convs = [
            keras.layers.Conv2D(width, 3, padding="same", use_bias=False) for _ in range(2)
        ]
        self._norms = [keras.layers.BatchNormalization(momentum=0.9) for _ in range(2)]
        self._maxpooling = keras.layers.MaxPooling2D()
        self._dropout = keras.layers.Dropout(0.2)

    def call(self, inputs, training=False):
        x = inputs
        for conv, norm in zip(self._convs, self._norms, strict=True):
            x = keras.activations.relu(norm(conv(x), training=training))
        return self._dropout(self._maxpooling(x), training=training)


class Cifar10Model(keras.Model):
    def __init__(self, widths=(32, 64, 128)):
        super().__init__(name="cifar10_model")
        self._blocks = [ConvBlock(width) for width in widths]
        self._flatten = keras.layers.Flatten()
        self._dense = keras.layers.Dense(10)

    def call(self, inputs, training=False):
        x = inputs
        for block in self._blocks:
            x = block(x, training=training)
        return self._dense(self._flatten(x))


model = Cifar10Model


def custom_data_reader():
    return Cifar10()


def data_schema():
    return [
        {"name": "image", "shape": [32, 32, 3], "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def input_fn(records):
    return {"image": records["image"]}, records["label"]


def preprocess(features):
    return {"image": features["image"].float() / 255}


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels.flatten())


def optimizer(lr=0.05):
    return keras.optimizers.SGD(lr, momentum=0.9)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels.flatten(), predictions.argmax(dim=1))}

"""CIFAR-10 with a Keras model by the functional API.

    pip install 'dovetail[keras]'
    dovetail prepare examples/model_file/cifar10_functional_api.py \
        'cifar-10-batches-bin/data_batch_*.bin' --output cifar10/train
    dovetail train examples/model_file/cifar10_functional_api.py \
        --data cifar10/train --model-dir runs/1

Without the data set, `make_small_files.py` writes a small one in its format.
"""

import keras
import torch

from dovetail import metrics
from dovetail.data.readers.cifar import Cifar10

inputs = keras.Input(shape=(32, 32, 3), name="image")
x = inputs
for width in (32, 64, 128):
    for _ in range(2):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.Activation("relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
x = keras.layers.Flatten()(x)
outputs = keras.layers.Dense(10)(x)

model = keras.Model(inputs=inputs, outputs=outputs, name="cifar10_model")


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

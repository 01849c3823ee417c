"""MNIST with a Keras model by the functional API.

    pip install 'dovetail[keras]'
    dovetail prepare examples/model_file/mnist_functional_api.py \
        'mnist/train-images-idx3-ubyte*' --output mnist/train
    dovetail train examples/model_file/mnist_functional_api.py --data mnist/train --model-dir runs/1

Without the data set, `make_small_files.py` writes a small one in its format.
"""

import keras
import torch

from dovetail import metrics
from dovetail.data.readers.mnist import Mnist

inputs = keras.Input(shape=(28, 28), name="image")
x = keras.layers.Reshape((28, 28, 1))(inputs)
x = keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu")(x)
x = keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu")(x)
x = keras.layers.BatchNormalization(momentum=0.9)(x)
x = keras.layers.MaxPooling2D(pool_size=(2, 2))(x)
x = keras.layers.Dropout(0.25)(x)
x = keras.layers.Flatten()(x)
outputs = keras.layers.Dense(10)(x)

model = keras.Model(inputs=inputs, outputs=outputs, name="mnist_model")


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
    return torch.nn.functional.cross_entropy(output, labels.flatten())


def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels.flatten(), predictions.argmax(dim=1))}

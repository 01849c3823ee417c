"""MNIST with a Keras model by subclassing; see mnist_functional_api.py for the commands."""

import keras

from dovetail.data.readers.mnist import Mnist


class MnistModel(keras.Model):
    def __init__(self):
        super().__init__(name="mnist_model")
        self._reshape = keras.layers.Reshape((28, 28, 1))
        self._conv1 = keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu")
        self._conv2 = keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu")
        self._batch_norm = keras.layers.BatchNormalization(momentum=0.9)
        self._maxpooling = keras.layers.MaxPooling2D(pool_size=(2, 2))
        self._dropout = keras.layers.Dropout(0.25)
        self._flatten = keras.layers.Flatten()
        self._dense = keras.layers.Dense(10)

    def call(self, inputs, training=False):
        x = self._reshape(inputs)
        x = self._conv1(x)
        x = self._conv2(x)
        x = self._batch_norm(x, training=training)
        x = self._maxpooling(x)
        if training:
            x = self._dropout(x, training=training)
        x = self._flatten(x)
        return self._dense(x)


model = MnistModel()


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


loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr)


def eval_metrics_fn():
    return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}

"""The model file page's example of subclassing, with `keras` for `tf.keras`."""

import keras
from model_file_page_parts import (
    data_schema,  # noqa: F401
    eval_metrics_fn,  # noqa: F401
    input_fn,  # noqa: F401
    loss,  # noqa: F401
    optimizer,  # noqa: F401
    prepare_data_for_a_single_file,  # noqa: F401
)


class MnistModel(keras.Model):
    def __init__(self):
        super(MnistModel, self).__init__(name="mnist_model")  # noqa: UP008, as the page has it
        self._reshape = keras.layers.Reshape((28, 28, 1))
        self._conv1 = keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu")
        self._conv2 = keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu")
        self._batch_norm = keras.layers.BatchNormalization()
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
        x = self._dense(x)
        return x


model = MnistModel()

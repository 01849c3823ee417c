"""The model file page's example of the functional API, with `keras` for `tf.keras`."""

import keras
from model_file_page_parts import (
    data_schema,  # noqa: F401
    eval_metrics_fn,  # noqa: F401
    input_fn,  # noqa: F401
    loss,  # noqa: F401
    optimizer,  # noqa: F401
    prepare_data_for_a_single_file,  # noqa: F401
)

inputs = keras.Input(shape=(28, 28), name="image")
x = keras.layers.Reshape((28, 28, 1))(inputs)
x = keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu")(x)
x = keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu")(x)
x = keras.layers.BatchNormalization()(x, training=True)
x = keras.layers.MaxPooling2D(pool_size=(2, 2))(x)
x = keras.layers.Dropout(0.25)(x, training=True)
x = keras.layers.Flatten()(x)
outputs = keras.layers.Dense(10)(x)

model = keras.Model(inputs=inputs, outputs=outputs, name="mnist_model")

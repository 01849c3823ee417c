"""A variant of model.py: the same model_fn with six small layers, for images of 48x32.

It is a definition for every command too, once shapes.py has written images:

    python examples/estimator/shapes.py demo/shapes
    dovetail prepare examples/estimator/small_model.py 'demo/shapes/train/*/*.png' \\
        --output demo/shapes_train
    dovetail train examples/estimator/small_model.py --data demo/shapes_train --model-dir demo/small
"""

import torch
from model import load_estimator, model_fn

import dovetail
from dovetail import layers

__all__ = ["load_estimator", "model_fn", "params"]

RELU, L2 = torch.nn.functional.relu, layers.l2_loss

# fmt: off
params = dovetail.HParams(
    layers=[
        {"type": "conv", "num_outputs": 16, "kernel_size": 5, "stride": 2, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "pool", "kernel_size": 3, "stride": 2},
        {"type": "conv", "num_outputs": 32, "kernel_size": 3, "stride": 1, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "pool", "kernel_size": 3, "stride": 2},
        {"type": "fc", "num_outputs": 128, "activation": RELU},
        {"type": "fc", "num_outputs": 50, "activation": None},
    ],
    learning_rate=0.002,
    train_epochs=10,
    batch_size=32,
    image_height=48,
    image_width=32,
    image_depth=3,
)
# fmt: on
params.add_hparam("num_layers", len(params.layers))


def data_schema():
    shape = [params.image_height, params.image_width, params.image_depth]
    return [
        {"name": "image", "shape": shape, "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def preprocess(features):
    return {"image": features["image"] / 255}

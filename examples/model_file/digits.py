"""Handwritten digits: a model file, the whole definition of the model on one page.

`make demo` runs it; step by step:

    python examples/model_file/make_digits.py demo/digits
    dovetail prepare examples/model_file/digits.py 'demo/digits/train/*/*.png' --output demo/train
    dovetail train examples/model_file/digits.py --data demo/train --model-dir demo/model
"""

import numpy as np
import PIL.Image
import torch
from torch import nn

from dovetail import metrics, optimizers


class DigitsNet(nn.Module):
    """Two convolutions and two dense layers: 8x8 greyscale images to ten logits."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.dense1 = nn.Linear(2 * width * 4 * 4, 128)
        self.dense2 = nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.unsqueeze(1)  # [batch, channel, height, width]
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        x = torch.relu(self.dense1(self.dropout(x)))
        return self.dense2(x)


model = DigitsNet


def data_schema():
    return [
        {"name": "image", "shape": [8, 8], "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def prepare_data_for_a_single_file(filename):
    label = int(filename.split("/")[-2])
    image = PIL.Image.open(filename)
    return np.array(image), label


def input_fn(records):
    return {"image": records["image"]}, records["label"]


def preprocess(features):
    return {"image": features["image"].float() / 255}


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels.flatten())


def optimizer(lr=0.002):
    return optimizers.Adam(learning_rate=lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels.flatten(), predictions.argmax(dim=1))}

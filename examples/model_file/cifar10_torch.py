"""CIFAR-10 with a torch model by subclassing; see cifar10_functional_api.py for the commands."""

from torch import nn

from dovetail import metrics, optimizers
from dovetail.data.readers.cifar import Cifar10


class Cifar10Model(nn.Module):
    def __init__(self, widths=(32, 64, 128)):
        super().__init__()
        blocks = []
        for channels, width in zip((3, *widths), widths, strict=False):
            for wide in (channels, width):
                blocks += [nn.Conv2d(wide, width, 3, padding=1, bias=False)]
                blocks += [nn.BatchNorm2d(width), nn.ReLU()]
            blocks += [nn.MaxPool2d(2), nn.Dropout(0.2)]
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(widths[-1] * 4 * 4, 10)

    def forward(self, image):
        x = self.blocks(image.permute(0, 3, 1, 2))  # torch's modules take the channels first
        return self.dense(x.flatten(1))


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
    return nn.functional.cross_entropy(output, labels.flatten())


def optimizer(lr=0.05):
    return optimizers.Momentum(lr, momentum=0.9)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels.flatten(), predictions.argmax(dim=1))}

"""The net of these tests as a torch module."""

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Two convolutions, pooling, two dense layers, for images [batch, 8, 8, 3]."""

    def __init__(self, normed=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.conv_1 = nn.Conv2d(4, 6, 3)
        self.norm = nn.BatchNorm2d(6, eps=1e-3, momentum=1.0 - 0.9) if normed else None
        self.hidden = nn.Linear(24, 8)
        self.dropout = nn.Dropout(0.25 if normed else 0.0)
        self.logits = nn.Linear(8, 5)

    def forward(self, image):
        x = F.relu(self.conv(image.permute(0, 3, 1, 2)))
        x = self.conv_1(F.max_pool2d(x, 2))
        x = F.relu(x if self.norm is None else self.norm(x))
        x = F.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1)))
        return self.logits(self.dropout(x))


class NormedNet(Net):
    def __init__(self):
        super().__init__(normed=True)


def loss(output, labels):
    return F.cross_entropy(output, labels)


def predictions(logits):
    return {
        "output": logits,
        "classes": logits.argmax(-1),
        "probabilities": torch.softmax(logits, -1),
    }

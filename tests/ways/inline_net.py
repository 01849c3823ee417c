"""The net of these tests with layers made inline, as a modeler's net and as model_fns call it."""

import torch

from dovetail import layers


def net(inputs, num_classes, is_training=None, data_format="channels_last", normed=False):
    x = layers.conv2d(inputs, 4, 3)
    x = layers.max_pool2d(x, 2)
    x = layers.conv2d(x, 6, 3, padding="VALID", activation_fn=None)
    if normed:
        x = layers.batch_norm(x, 0.9, scale=True, epsilon=1e-3, is_training=is_training)
    x = layers.fully_connected(layers.flatten(layers.relu(x)), 8)
    if normed:
        x = layers.dropout(x, 0.75, is_training=is_training)
    logits = layers.fully_connected(x, num_classes, activation_fn=None)
    return logits, {
        "output": logits,
        "classes": logits.argmax(-1),
        "probabilities": torch.softmax(logits, -1),
    }


def normed_net(inputs, num_classes, is_training=None, data_format="channels_last"):
    return net(inputs, num_classes, is_training, data_format, normed=True)


# The names that layers have here, and those of the torch module.
NAMES = {
    "conv2d": "conv",
    "conv2d_1": "conv_1",
    "batch_norm": "norm",
    "fully_connected": "hidden",
    "fully_connected_1": "logits",
}

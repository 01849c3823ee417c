"""Layers written inline in a model_fn: built once, kept in the program, found again at each call.

The short functions have the names, arguments and defaults of `tf.contrib.layers`. They take and
give channels-last tensors: images are [batch, height, width, channels].
"""

from dovetail.layers.activations import (
    elu,
    gelu,
    identity,
    leaky_relu,
    relu,
    relu6,
    selu,
    sigmoid,
    softmax,
    swish,
    tanh,
)
from dovetail.layers.block import block
from dovetail.layers.convolution import conv1d, conv2d, conv2d_transpose
from dovetail.layers.embeddings import embedding, one_hot_encoding
from dovetail.layers.layer import layer
from dovetail.layers.linear import dense, fully_connected
from dovetail.layers.noise import dropout
from dovetail.layers.normalization import batch_norm, layer_norm
from dovetail.layers.pooling import avg_pool2d, flatten, max_pool2d
from dovetail.layers.regularizers import (
    l1_l2_regularizer,
    l1_regularizer,
    l2_loss,
    l2_regularizer,
    regularization_loss,
    sum_regularizer,
)
from dovetail.layers.store import scope
from dovetail.layers.variables import get_variable

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "block",
    "conv1d",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "fully_connected",
    "gelu",
    "get_variable",
    "identity",
    "l1_l2_regularizer",
    "l1_regularizer",
    "l2_loss",
    "l2_regularizer",
    "layer",
    "layer_norm",
    "leaky_relu",
    "max_pool2d",
    "one_hot_encoding",
    "regularization_loss",
    "relu",
    "relu6",
    "scope",
    "selu",
    "sigmoid",
    "softmax",
    "sum_regularizer",
    "swish",
    "tanh",
]

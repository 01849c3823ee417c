"""The model of the Estimator page: how it is loaded, its model_fn and its params.

The names, arguments and their order are the page's. It is AlexNet for images of 300x200 in 50
classes, which wants an accelerator; `small_model.py` is a variant that trains in seconds.
"""

import torch

import dovetail
from dovetail import layers


def load_estimator(model_fn=None, model_dir=None, config=None, params=None):
    """Return an Estimator that goes on from the newest checkpoint in model_dir, if there is one.

    Args:
      model_fn: the function that is the model.
      model_dir: where checkpoints and event logs are kept; None: a temporary folder, so that the
        model is new.
      config: a RunConfig: the seed, how often checkpoints are saved, and so on.
      params: the hyperparameters that model_fn reads.
    """
    return dovetail.Estimator(model_fn=model_fn, model_dir=model_dir, config=config, params=params)


def model_fn(features, labels, mode, params):
    # 1. Define model structure
    for l in range(params.num_layers):  # noqa: E741
        lparams = params.layers[l]
        if l == 0:
            h = features["image"]
        elif lparams["type"] == "fc" and len(h.shape) != 2:
            h = layers.flatten(h)
        if lparams["type"] == "conv":
            h = layers.conv2d(
                h,
                lparams["num_outputs"],
                lparams["kernel_size"],
                lparams["stride"],
                activation_fn=lparams["activation"],
                weights_regularizer=lparams["regularizer"],
            )
        elif lparams["type"] == "pool":
            h = layers.max_pool2d(h, lparams["kernel_size"], lparams["stride"])
        elif lparams["type"] == "fc":
            h = layers.fully_connected(
                h, lparams["num_outputs"], activation_fn=lparams["activation"]
            )

    # 2. Generate predictions
    if mode == dovetail.ModeKeys.PREDICT:
        predictions = {"output": h}
        return dovetail.EstimatorSpec(mode=mode, predictions=predictions)

    # 3. Define the loss functions
    loss = torch.nn.functional.cross_entropy(h, labels)

    # 3.1 Additional metrics for monitoring
    eval_metric_ops = {
        "accuracy": dovetail.metrics.accuracy(labels=labels, predictions=h.argmax(dim=-1))
    }

    # 4. Define optimizer
    optimizer = dovetail.optimizers.Adam(learning_rate=params.learning_rate)
    train_op = optimizer.minimize(loss=loss, global_step=dovetail.get_global_step())

    # 5. Return training/evaluation EstimatorSpec
    return dovetail.EstimatorSpec(
        mode=mode, loss=loss, train_op=train_op, eval_metric_ops=eval_metric_ops
    )


RELU, L2 = torch.nn.functional.relu, layers.l2_loss

# fmt: off
params = dovetail.HParams(
    layers=[
        {"type": "conv", "num_outputs": 96, "kernel_size": 11, "stride": 4, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "pool", "kernel_size": 3, "stride": 2},
        {"type": "conv", "num_outputs": 256, "kernel_size": 5, "stride": 1, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "pool", "kernel_size": 3, "stride": 2},
        {"type": "conv", "num_outputs": 384, "kernel_size": 3, "stride": 1, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "conv", "num_outputs": 384, "kernel_size": 3, "stride": 1, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "conv", "num_outputs": 256, "kernel_size": 3, "stride": 1, "activation": RELU, "regularizer": L2},  # noqa: E501
        {"type": "pool", "kernel_size": 3, "stride": 2},
        {"type": "fc", "num_outputs": 4096, "activation": RELU},
        {"type": "fc", "num_outputs": 2048, "activation": RELU},
        {"type": "fc", "num_outputs": 50, "activation": None},
    ],
    learning_rate=0.001,
    train_epochs=30,
    batch_size=32,
    image_height=300,
    image_width=200,
    image_depth=3,
)
# fmt: on
params.add_hparam("num_layers", len(params.layers))

"""Handwritten digits by a modeler: a net by its name, a config in layers, a task's modeler.

    python examples/model_file/make_digits.py demo/digits
    dovetail prepare examples/modeler/digits.py 'demo/digits/train/*/*.png' --output demo/m_train
    dovetail prepare examples/modeler/digits.py 'demo/digits/test/*/*.png' --output demo/m_test
    dovetail train examples/modeler/digits.py --data demo/m_train --model-dir demo/modeler \\
        --epochs 5
    dovetail evaluate examples/modeler/digits.py --data demo/m_test --model-dir demo/modeler
"""

import importlib

from dovetail import ImageClassificationModelerConfig, ModelerConfig

# Create the network
network_name = "dovetail.nets.convnet"
net = importlib.import_module(network_name).net

# Create basic modeler configuration; boundaries are in epochs
modeler_config = ModelerConfig(
    mode="train",
    batch_size_per_gpu=32,
    gpu_count=1,
    optimizer="momentum",
    learning_rate=0.1,
    piecewise_boundaries=[3, 4],
    piecewise_learning_rate_decay=[1.0, 0.1, 0.01],
    l2_weight_decay=1e-4,
    skip_l2_loss_vars=["bias"],
)

# Add additional configuration for image classification
modeler_config = ImageClassificationModelerConfig(modeler_config, num_classes=10)

# Create modeler
modeler_name = "dovetail.tasks.image_classification"
modeler = importlib.import_module(modeler_name).build(modeler_config, net)


def data_schema():
    return [
        {"name": "image", "shape": [8, 8, 1], "dtype": "uint8"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def preprocess(features):
    return {"image": features["image"] / 255}

"""The parts of the model file page around its model, with its names and order.

What was TensorFlow's is torch's. Two slips of the page are mended, each where it says so.
"""

import numpy as np
import PIL.Image
import torch
from keras import optimizers


def input_fn(records):
    image_list = []
    label_list = []
    # data processing
    for r in records:
        label = r["label"]
        image = r["image"]  # the page uses an image that it has not defined
        image /= 255
        label = label.astype(np.int64)  # int32 there; torch's losses take int64
        image_list.append(image)
        label_list.append(label)

    # batching
    batch_size = len(image_list)
    images = np.concatenate(image_list, axis=0)
    images = np.reshape(images, (batch_size, 28, 28))
    images = torch.as_tensor(images)
    labels = np.array(label_list)
    return ({"image": images}, labels)


def data_schema():
    return [
        {"name": "image", "shape": [28, 28], "dtype": torch.float32},
        {"name": "label", "shape": [1], "dtype": torch.int64},
    ]


def loss(output, labels):
    return torch.mean(
        torch.nn.functional.cross_entropy(input=output, target=labels.flatten(), reduction="none")
    )


def optimizer(lr=0.1):
    return optimizers.SGD(lr)


def eval_metrics_fn(predictions, labels):
    return {
        "accuracy": torch.mean(
            torch.eq(torch.argmax(predictions, dim=1), labels.flatten()).to(torch.float32)
        )
    }


def prepare_data_for_a_single_file(filename):
    """
    An image classification dataset that images belonging to the same category located in the same
    directory.
    """
    label = int(filename.split("/")[-2])
    image = PIL.Image.open(filename)
    numpy_image = np.array(image)
    return numpy_image, label

"""Images in 50 classes, drawn when they are needed: ten shapes in five colours.

Run as `python examples/estimator/shapes.py demo/shapes`, it writes 2,000 images of 48x32 under
`demo/shapes/train/CLASS/` and 500 under `demo/shapes/test/CLASS/`, as PNG files.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from dovetail import ModeKeys

IMAGES = {"train": 2000, "test": 500}
COLOURS = np.array([[230, 40, 40], [40, 200, 40], [60, 80, 240], [230, 220, 40], [230, 230, 230]])
SEEDS = {"train": 0, "test": 1}

# Where a shape is, of coordinates x to the right and y downwards, from -1 to 1 over its square.
SHAPES = [
    lambda x, y: x**2 + y**2 < 1,  # disc
    lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.4),  # ring
    lambda x, y: np.maximum(abs(x), abs(y)) < 0.9,  # square
    lambda x, y: (np.maximum(abs(x), abs(y)) < 0.9) & (np.maximum(abs(x), abs(y)) > 0.5),  # frame
    lambda x, y: abs(x) + abs(y) < 1,  # diamond
    lambda x, y: (abs(2 * x) < y + 1) & (y < 0.9),  # triangle, upwards
    lambda x, y: (abs(2 * x) < 1 - y) & (y > -0.9),  # triangle, downwards
    lambda x, y: (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),  # plus
    lambda x, y: (abs(y) < 0.35) & (abs(x) < 1),  # bar, lying
    lambda x, y: (abs(x) < 0.35) & (abs(y) < 1),  # bar, standing
]
CLASSES = len(SHAPES) * len(COLOURS)


def draw(label, height, width, random):
    """Return an image [height, width, 3] in uint8 of one class: shape * 5 + colour."""
    shape, colour = divmod(int(label), len(COLOURS))
    radius = min(height, width) * random.uniform(0.25, 0.45)
    row, column = (random.uniform(radius, size - radius) for size in (height, width))
    y, x = np.mgrid[:height, :width]
    inside = SHAPES[shape]((x - column) / radius, (y - row) / radius)
    image = random.normal(60, 20, (height, width, 3))
    image[inside] = COLOURS[colour] + random.normal(0, 20, (inside.sum(), 3))
    return image.clip(0, 255).astype(np.uint8)


def input_fn(params, mode):
    """Yield batches of features and labels; of training as many epochs as params say.

    The drawing is seeded, so the batches are the same each time.
    """
    split = "train" if mode == ModeKeys.TRAIN else "test"
    random = np.random.default_rng(SEEDS[split])
    for _ in range(params.train_epochs if split == "train" else 1):
        for start in range(0, IMAGES[split], params.batch_size):
            labels = random.integers(CLASSES, size=min(params.batch_size, IMAGES[split] - start))
            size = (params.image_height, params.image_width)
            images = np.stack([draw(label, *size, random) for label in labels])
            yield {"image": images.astype(np.float32) / 255}, labels


def write(output, height=48, width=32):
    """Write images as PNG files in one folder per class, under `train` and `test`."""
    for split, number in IMAGES.items():
        random = np.random.default_rng(SEEDS[split])
        for index in range(number):
            label = index % CLASSES
            folder = output / split / f"{label:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(label, height, width, random)).save(folder / f"{index:04d}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write shapes as folders of PNG images.")
    parser.add_argument("output", type=Path, help="folder to write, such as demo/shapes")
    write(parser.parse_args().output)

"""Write scikit-learn's handwritten digits as folders of PNG images, one folder per label.

Run as `python examples/model_file/make_digits.py demo/digits`. It writes 1,437 images under
`demo/digits/train/LABEL/` and 360 under `demo/digits/test/LABEL/`, each 8x8 and greyscale. The
split is fixed, and running it again writes the same bytes again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

# Every fifth image, counted through the labels in order, is a test image. That gives each label
# its share of the 360, and depends on no library's random numbers.
TEST_EVERY = 5


def write_digits(output: Path) -> tuple[int, int]:
    """Write the images under `output` and return how many are for training and for testing.

    Args:
      output: folder to write into; made if absent. Other files in it are left alone.

    Returns:
      The number of images under `train/` and under `test/`: (1437, 360).
    """
    digits = load_digits()
    # scikit-learn's pixels are counts from 0 to 16; PNG's are 0 to 255.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    counts = {"train": 0, "test": 0}
    for place, index in enumerate(np.argsort(digits.target, kind="stable")):
        split = "test" if place % TEST_EVERY == 0 else "train"
        folder = output / split / str(digits.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(folder / f"{index:04d}.png")
        counts[split] += 1
    return counts["train"], counts["test"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the digits as folders of PNG images.")
    parser.add_argument("output", type=Path, help="folder to write, such as demo/digits")
    output = parser.parse_args().output
    train, test = write_digits(output)
    print(f"Wrote {train:,} training and {test:,} test images of 8x8 pixels under {output}/.")


if __name__ == "__main__":
    main()

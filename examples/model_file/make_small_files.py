"""Write small data sets in the formats of MNIST and CIFAR-10, to try the examples on.

Run as `python examples/model_file/make_small_files.py data`. The images are scikit-learn's
handwritten digits, enlarged; for CIFAR-10 each is drawn in colours of its own.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TEST_EVERY = 5


def enlarged(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as uint8 [1797, size, size], thrice as large with an empty frame."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = images.repeat(3, axis=1).repeat(3, axis=2)
    before = (size - images.shape[1]) // 2
    frame = (before, size - images.shape[1] - before)
    return np.pad(images, ((0, 0), frame, frame)), digits.target.astype(np.uint8)


def write_mnist(output: Path) -> None:
    """Write idx files, images and labels, of a training and a test set, compressed."""
    images, labels = enlarged(28)
    test = np.arange(len(labels)) % TEST_EVERY == 0
    output.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("train", ~test), ("t10k", test)):
        count = int(chosen.sum())
        of_images = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + images[chosen].tobytes()
        of_labels = struct.pack(">HBBI", 0, 8, 1, count) + labels[chosen].tobytes()
        for kind, data in (("images-idx3", of_images), ("labels-idx1", of_labels)):
            packed = gzip.compress(data, mtime=0)
            (output / f"{name}-{kind}-ubyte.gz").write_bytes(packed)


def write_cifar10(output: Path) -> None:
    """Write binary batches: two for training and one for testing."""
    images, labels = enlarged(32)
    random = np.random.default_rng(0)
    ink, paper = random.integers(0, 256, (2, len(labels), 3, 1, 1))
    shade = images[:, None] / 255  # [n, 1, 32, 32], to be coloured in [n, 3, 32, 32]
    coloured = np.rint(shade * ink + (1 - shade) * paper).astype(np.uint8)
    rows = np.concatenate([labels[:, None], coloured.reshape(len(labels), -1)], axis=1)
    test = np.arange(len(labels)) % TEST_EVERY == 0
    output.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(rows[~test], 2), 1):
        (output / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    (output / "test_batch.bin").write_bytes(rows[test].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder to write into, such as data")
    output = parser.parse_args().output
    write_mnist(output / "mnist")
    write_cifar10(output / "cifar-10-batches-bin")
    print(f"Wrote {output}/mnist and {output}/cifar-10-batches-bin.")


if __name__ == "__main__":
    main()

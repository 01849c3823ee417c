"""JPEG files read, decoded, cropped and mirrored in random batches of 64, by each library's means.

All read the same files; each image is cut to 192x192 at a random place and mirrored in half of the
cases. For the check the window is in the middle and nothing is mirrored.
"""

# The rivals are in an environment of their own, which the type checker does not see.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import record_files
from turns import Work

BATCH = 64
FILES = 1024
WINDOW = 192
_EDGE = (record_files.JPEG_SIZE - WINDOW) // 2
_UNCOUNTED = 4  # batches at the beginning of a turn: what was made ahead while others ran
Batches = Iterator[tuple[Any, Any]]  # uint8 [batch, 192, 192, 3] and int64 [batch]


def write(folder: Path) -> None:
    """Write the files, the number in a name's beginning being the label."""
    place = folder / "pictures"
    if place.exists():
        return
    aside = folder / "pictures.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for number, (encoded, label) in enumerate(itertools.islice(record_files.jpegs(), FILES)):
        (aside / f"{label}_{number:05d}.jpg").write_bytes(encoded)
    aside.rename(place)


def _work(batches: Callable[[bool], Batches]) -> Work:
    """Make a `Work` of a function that gives batches: random ones for ever, or one plain epoch."""
    begun: list[Batches] = []

    def run(count: int) -> float:
        if not begun:
            begun.append(batches(True))
        for _ in range(_UNCOUNTED):
            next(begun[0])
        start = time.perf_counter()
        for _ in range(count):
            next(begun[0])
        return time.perf_counter() - start

    return Work(run, lambda: _digest(batches(False)))


def _digest(epoch: Batches) -> dict[str, Any]:
    rows, pixels, labels_sum, sizes = 0, 0.0, 0, set()
    for images, labels in epoch:
        images, labels = np.asarray(images), np.asarray(labels)
        assert images.dtype == np.uint8, images.dtype
        assert images.shape[1:] == (WINDOW, WINDOW, 3), images.shape
        rows += len(images)
        pixels += float(images.sum(dtype=np.int64))
        labels_sum += int(labels.sum())
        sizes.add(len(images))
    return {"rows": rows, "pixels": pixels, "labels": labels_sum, "batch": max(sizes)}


def dovetail(folder: Path, prefetch: int = 2) -> Work:
    """A pipeline over a FilesIndex."""
    from dovetail import Dataset, FilesIndex, ImagesBatch, action

    class Pictures(ImagesBatch):
        components = "images", "labels"

        @action
        def labelled(self) -> Pictures:
            self.labels = np.array([int(name[0]) for name in self.indices.tolist()])
            return self

    files = Dataset(FilesIndex(str(folder / "pictures" / "*.jpg")), Pictures)
    loaded = files.p.load(fmt="image", components="images").labelled()

    def batches(augmented: bool) -> Batches:
        if augmented:
            pipeline = loaded.crop((WINDOW, WINDOW), "random").flip(p=0.5)
            how: dict[str, Any] = {"shuffle": True, "n_epochs": None, "prefetch": prefetch}
        else:
            pipeline, how = loaded.crop((WINDOW, WINDOW)), {}
        return ((batch.images, batch.labels) for batch in pipeline.gen_batch(BATCH, **how))

    return _work(batches)


class _Files:
    """The files as a torch data set has them, decoded by Pillow."""

    def __init__(self, folder: Path, augmented: bool) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.augmented = augmented

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        file = self.files[index]
        return torch.from_numpy(np.array(_changed(file, self.augmented))), int(file.name[0])


def _changed(file: Path, augmented: bool) -> Any:
    """Decode an image, cut a window and mirror it, as is done with Pillow."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    top, left = (random.randint(0, 2 * _EDGE) if augmented else _EDGE for _ in range(2))
    image = image.crop((left, top, left + WINDOW, top + WINDOW))
    return ImageOps.mirror(image) if augmented and random.random() < 0.5 else image


def data_loader(folder: Path, workers: int) -> Work:
    """torch's DataLoader, its worker processes and Pillow."""
    from torch.utils.data import DataLoader

    def batches(augmented: bool) -> Batches:
        loader = DataLoader(
            _Files(folder / "pictures", augmented),  # type: ignore[arg-type]
            batch_size=BATCH,
            shuffle=augmented,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        while True:
            yield from loader
            if not augmented:
                return

    return _work(batches)


def tf_data(folder: Path) -> Work:
    """tf.data over the files: decoded and changed in parallel, batched and prefetched."""
    import tensorflow as tf

    def batches(augmented: bool) -> Batches:
        def changed(file: Any) -> tuple[Any, Any]:
            pixels = tf.io.decode_jpeg(
                tf.io.read_file(file), channels=3, dct_method="INTEGER_ACCURATE"
            )
            if augmented:
                pixels = tf.image.random_crop(pixels, (WINDOW, WINDOW, 3))
                pixels = tf.image.random_flip_left_right(pixels)
            else:
                pixels = pixels[_EDGE : _EDGE + WINDOW, _EDGE : _EDGE + WINDOW]
            name = tf.strings.split(file, "/")[-1]
            label = tf.strings.to_number(tf.strings.substr(name, 0, 1), tf.int64)
            return tf.ensure_shape(pixels, (WINDOW, WINDOW, 3)), label

        names = sorted(map(str, (folder / "pictures").glob("*.jpg")))
        files: Any = tf.data.Dataset.from_tensor_slices(names)
        if augmented:
            files = files.shuffle(len(names)).repeat()
        made = files.map(changed, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
        return iter(made.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())

    return _work(batches)


def batchflow(folder: Path, prefetch: int = 2) -> Work:
    """batchflow: a pipeline over its FilesIndex, the items of a batch by its threads, by Pillow."""
    import batchflow as bf
    from batchflow.decorators import inbatch_parallel

    class Pictures(bf.Batch):
        components = "images", "labels"

        def _put(self, results: Any, *args: Any, **kwargs: Any) -> Any:
            failed = [one for one in results if isinstance(one, Exception)]
            if failed:
                raise failed[0]
            self.images = np.stack([image for image, _ in results])
            self.labels = np.array([label for _, label in results])
            return self

        @bf.action
        @inbatch_parallel(init="indices", post="_put", target="threads")
        def read(self, name: Any, augmented: bool) -> Any:
            file = Path(self.index.get_fullpath(name))
            return np.array(_changed(file, augmented)), int(file.name[0])

    index = bf.FilesIndex(path=str(folder / "pictures" / "*.jpg"))
    files = bf.Dataset(index, Pictures)

    def batches(augmented: bool) -> Batches:
        how: dict[str, Any] = {"shuffle": augmented, "n_epochs": None if augmented else 1}
        if augmented:
            how |= {"prefetch": prefetch, "target": "threads", "drop_last": True}
        given = files.p.read(augmented=augmented).gen_batch(BATCH, **how)
        return ((batch.images, batch.labels) for batch in given)

    return _work(batches)

"""Endless random batches of 64 from the sets of record_files.py, as each library gives them."""

# The rivals are in an environment of their own, which the type checker does not see.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from turns import Work

BATCH = 64
_UNCOUNTED = 64  # batches at the beginning of a turn: what was made ahead while others ran
Batches = Iterator[tuple[Any, Any]]  # uint8 [batch, height, width, 3] and int64 [batch]


def _work(epoch: Callable[[], Batches], endless: Callable[[], Batches]) -> Work:
    """Make a `Work` of a function that gives one epoch, and one that goes on for ever."""
    batches: list[Batches] = []

    def run(count: int) -> float:
        if not batches:
            batches.append(endless())
        given = batches[0]
        for _ in range(_UNCOUNTED):
            next(given)
        start = time.perf_counter()
        for _ in range(count):
            next(given)
        return time.perf_counter() - start

    return Work(run, lambda: _digest(epoch()))


def _digest(epoch: Batches) -> dict[str, Any]:
    """Say what an epoch held, whatever its order, and whether it was in the stored order."""
    total = rows = 0
    pixels = 0.0
    sizes: set[int] = set()
    for images, labels in epoch:
        images, labels = np.asarray(images), np.asarray(labels)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64), (images.dtype, labels.dtype)
        for image, label in zip(images, labels, strict=True):
            total += zlib.crc32(image.tobytes(), int(label))
        pixels += float(images.sum(dtype=np.int64))
        rows += len(images)
        sizes.add(len(images))
    return {"rows": rows, "sum": total, "pixels": pixels, "batch": max(sizes)}


def dovetail(folder: Path, prefetch: int = 2) -> Work:
    """Records, as training reads them: checked, in the order of seed and epoch, ahead of need."""
    from dovetail.data.feed import RecordFeed
    from dovetail.data.records import Records

    records = Records(folder / "records")

    def batches(stop: int | None) -> Batches:
        for fed in RecordFeed(records, BATCH, stop=stop, prefetch=prefetch):
            yield fed.features["image"], fed.labels

    return _work(lambda: batches(len(records)), lambda: batches(None))


def data_loader(folder: Path, workers: int) -> Work:
    """torch's DataLoader over a TensorDataset of the whole set, in memory."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    images = torch.from_numpy(np.load(folder / "arrays" / "images.npy"))
    labels = torch.from_numpy(np.load(folder / "arrays" / "labels.npy"))
    loader = DataLoader(
        TensorDataset(images, labels),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return _work(lambda: iter(loader), lambda: _repeated(loader))


def tf_data(folder: Path) -> Work:
    """TFRecord files through tf.data: the whole set in the shuffle buffer, parsed by batch."""
    import tensorflow as tf

    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parsed(examples: Any) -> tuple[Any, Any]:
        fields = tf.io.parse_example(examples, features)
        pixels = tf.io.decode_raw(fields["image"], tf.uint8)
        return tf.reshape(pixels, (-1, 32, 32, 3)), fields["label"]

    def batches(repeat: bool) -> Batches:
        files = sorted(str(path) for path in (folder / "tfrecord").iterdir())
        records = tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE)
        records = records.shuffle(50_000)
        if repeat:
            records = records.repeat()
        made: Any = records.batch(BATCH).map(parsed, num_parallel_calls=tf.data.AUTOTUNE)
        return iter(made.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())

    return _work(lambda: batches(False), lambda: batches(True))


def array_record(folder: Path) -> Work:
    """ArrayRecord, a batch of random rows at once."""
    from array_record.python import array_record_data_source

    file = str(folder / "array_record" / "images.array_record")
    source = array_record_data_source.ArrayRecordDataSource(file)
    rng = np.random.default_rng(0)

    def epoch() -> Batches:
        order = rng.permutation(len(source))
        for start in range(0, len(order), BATCH):
            rows = source.__getitems__(order[start : start + BATCH].tolist())
            table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
            images = table[:, :-8].reshape(-1, 32, 32, 3)
            yield images, np.ascontiguousarray(table[:, -8:]).view(np.int64).reshape(-1)

    return _work(epoch, lambda: _repeated_calls(epoch))


def webdataset(folder: Path) -> Work:
    """WebDataset's tar files, shuffled in a buffer of 1,000."""
    import webdataset

    urls = sorted(str(path) for path in (folder / "webdataset").iterdir())

    def batches() -> Batches:
        samples = webdataset.WebDataset(urls, shardshuffle=4).shuffle(1_000).to_tuple(
            "image", "label"
        )  # fmt: skip
        rows = iter(samples)
        while taken := list(itertools.islice(rows, BATCH)):
            pixels = np.frombuffer(b"".join(image for image, _ in taken), np.uint8)
            labels = np.frombuffer(b"".join(label for _, label in taken), np.int64)
            yield pixels.reshape(-1, 32, 32, 3), labels

    return _work(batches, lambda: _repeated_calls(batches))


def dovetail_jpeg(folder: Path) -> Work:
    """JPEG files kept in records, decoded in the batch by threads."""
    from dovetail.data.decode import decode_images
    from dovetail.data.feed import RecordFeed
    from dovetail.data.records import Records

    records = Records(folder / "jpeg_records")

    def pixels(rows: Any) -> Any:
        return decode_images(rows["image"]), rows["label"]

    def batches(stop: int | None) -> Batches:
        for fed in RecordFeed(records, BATCH, input_fn=pixels, stop=stop):
            yield fed.features, fed.labels

    return _work(lambda: batches(len(records)), lambda: batches(None))


class _JpegFiles:
    """JPEG files as a torch data set has them, decoded by Pillow."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.labels: list[int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))), self.labels[index]


def data_loader_jpeg(folder: Path, workers: int) -> Work:
    """JPEG files through a DataLoader's worker processes and Pillow."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _JpegFiles(folder / "jpegs"),  # type: ignore[arg-type]
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return _work(lambda: iter(loader), lambda: _repeated(loader))


def tf_data_jpeg(folder: Path) -> Work:
    """JPEG files in TFRecord, through tf.data and decode_jpeg, its exact method."""
    import tensorflow as tf

    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def decoded(example: Any) -> tuple[Any, Any]:
        fields = tf.io.parse_single_example(example, features)
        pixels = tf.io.decode_jpeg(fields["image"], channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, (224, 224, 3)), fields["label"]

    def batches(repeat: bool) -> Batches:
        records = tf.data.TFRecordDataset(str(folder / "jpeg_tfrecord" / "images.tfrecord"))
        records = records.shuffle(4_096)
        if repeat:
            records = records.repeat()
        made: Any = records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
        return iter(made.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())

    return _work(lambda: batches(False), lambda: batches(True))


def _repeated(loader: Any) -> Batches:
    return _repeated_calls(lambda: iter(loader))


def _repeated_calls(epoch: Callable[[], Batches]) -> Batches:
    while True:
        yield from epoch()

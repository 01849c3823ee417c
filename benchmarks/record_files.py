"""The same 50,000 images in every format that benchmarks/records.py reads."""

# The rivals are in an environment of their own, which the type checker does not see.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

IMAGES = 50_000
SHAPE = (32, 32, 3)
JPEGS = 4_096
JPEG_SIZE = 224


def write(folder: Path) -> None:
    """Write each set that is not in `folder` yet."""
    writers: dict[str, Callable[[Path], None]] = {
        "records": _records,
        "arrays": _arrays,
        "tfrecord": _tfrecord,
        "array_record": _array_record,
        "webdataset": _webdataset,
        "jpegs": _jpegs,
        "jpeg_records": _jpeg_records,
        "jpeg_tfrecord": _jpeg_tfrecord,
    }
    for name, writer in writers.items():
        if not (folder / name).exists():
            aside = folder / f"{name}.part"
            shutil.rmtree(aside, ignore_errors=True)
            if name != "records" and name != "jpeg_records":
                aside.mkdir(parents=True)
            writer(aside)
            aside.rename(folder / name)


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 [50000, 32, 32, 3], and labels, int64 [50000]; always the same."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, *SHAPE), np.uint8), rng.integers(0, 10, IMAGES)


def jpegs() -> Iterator[tuple[bytes, int]]:
    """Yield the JPEG files, 224 x 224 as a photograph is, and labels; always the same."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(JPEGS):
        # Smooth at large scale with some noise: about 10 KB, as photographs of this size have.
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        smooth = np.asarray(coarse.resize((JPEG_SIZE, JPEG_SIZE), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 8, smooth.shape)
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=85)
        yield file.getvalue(), int(rng.integers(0, 10))


def _records(place: Path) -> None:
    from dovetail.data.record_writer import RecordWriter
    from dovetail.data.schema import Field, Schema

    schema = Schema([Field("image", SHAPE, "uint8"), Field("label", (), "int64")])
    with RecordWriter(place, schema) as writer:
        for image, label in zip(*images(), strict=True):
            writer.append({"image": image, "label": label})


def _arrays(place: Path) -> None:
    pixels, labels = images()
    np.save(place / "images.npy", pixels)
    np.save(place / "labels.npy", labels)


def _tfrecord(place: Path) -> None:
    import tensorflow as tf

    shards = [tf.io.TFRecordWriter(str(place / f"{n}.tfrecord")) for n in range(4)]
    for number, (image, label) in enumerate(zip(*images(), strict=True)):
        shards[number % 4].write(_example(image.tobytes(), int(label)))
    for shard in shards:
        shard.close()


def _example(image: bytes, label: int) -> bytes:
    import tensorflow as tf

    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _array_record(place: Path) -> None:
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(
        str(place / "images.array_record"), "group_size:1"
    )
    for image, label in zip(*images(), strict=True):
        writer.write(image.tobytes() + int(label).to_bytes(8, "little"))
    writer.close()


def _webdataset(place: Path) -> None:
    with contextlib.ExitStack() as stack:
        tars = [stack.enter_context(tarfile.open(place / f"{n}.tar", "w")) for n in range(4)]
        for number, (image, label) in enumerate(zip(*images(), strict=True)):
            _member(tars[number % 4], f"{number:06}.image", image.tobytes())
            _member(tars[number % 4], f"{number:06}.label", int(label).to_bytes(8, "little"))


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _jpegs(place: Path) -> None:
    labels: list[int] = []
    for number, (encoded, label) in enumerate(jpegs()):
        (place / f"{number:05}.jpg").write_bytes(encoded)
        labels.append(label)
    (place / "labels.json").write_text(json.dumps(labels), encoding="utf-8")


def _jpeg_records(place: Path) -> None:
    from dovetail.data.record_writer import RecordWriter
    from dovetail.data.schema import Field, Schema

    schema = Schema([Field("image", (), "bytes"), Field("label", (), "int64")])
    with RecordWriter(place, schema) as writer:
        for encoded, label in jpegs():
            writer.append({"image": encoded, "label": label})


def _jpeg_tfrecord(place: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(place / "images.tfrecord")) as writer:
        for encoded, label in jpegs():
            writer.write(_example(encoded, label))

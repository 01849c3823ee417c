"""The reader of TFRecord files of tf.train.Example."""

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from dovetail.data.prepare import prepare
from dovetail.data.readers.tfrecord import TFRecord
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


def message(number: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def feature(values: list[Any] | bytes) -> bytes:
    if isinstance(values, bytes):
        values = [values]
    if values and isinstance(values[0], bytes):
        return message(1, b"".join(message(1, value) for value in values))
    if values and isinstance(values[0], float):
        return message(2, message(1, struct.pack(f"<{len(values)}f", *values)))
    return message(3, message(1, b"".join(varint(value) for value in values)))


def example(**features: list[Any] | bytes) -> bytes:
    entries = [
        message(1, message(1, name.encode()) + message(2, feature(values)))
        for name, values in features.items()
    ]
    return message(1, b"".join(entries))


def save(path: Path, *examples: bytes, pack: bool = False) -> str:
    pieces = []
    for data in examples:
        length = struct.pack("<Q", len(data))
        pieces += [length, struct.pack("<I", masked_crc32c(length))]
        pieces += [data, struct.pack("<I", masked_crc32c(data))]
    path.write_bytes(gzip.compress(b"".join(pieces)) if pack else b"".join(pieces))
    return path.as_posix()


def rows(reader: TFRecord, name: str) -> list[dict[str, Any]]:
    bound = reader.for_files([name])
    assert bound.schema is not None
    return [bound.schema.convert(row, name) for row in bound(name)]


def test_the_schema_is_told_from_the_examples(tmp_path: Path) -> None:
    first = example(label=[3], box=[0.5, 1.5], tokens=[1, 2, 3], name=b"a", rest=[7])
    second = example(label=[-1], box=[2.5, 3.5], tokens=[4], name=b"b")
    reader = TFRecord().for_files([save(tmp_path / "a", first, second)])
    assert reader.schema == Schema(
        [
            Field("box", (2,), "float32"),
            Field("label", (), "int64"),
            Field("name", (), "bytes"),
            Field("rest", (None,), "int64"),
            Field("tokens", (None,), "int64"),
        ]
    )
    found = [reader.schema.convert(row, "a") for row in reader((tmp_path / "a").as_posix())]
    assert [row["label"] for row in found] == [3, -1]
    assert [row["tokens"].tolist() for row in found] == [[1, 2, 3], [4]]
    assert [row["rest"].tolist() for row in found] == [[7], []]
    assert [row["name"] for row in found] == [b"a", b"b"]
    assert np.array_equal([row["box"] for row in found], [[0.5, 1.5], [2.5, 3.5]])
    assert pickle.loads(pickle.dumps(reader)) == reader


@pytest.mark.parametrize("pack", [False, True])
def test_examples_become_records(tmp_path: Path, pack: bool) -> None:
    for shard in range(3):
        examples = [example(x=[float(shard), float(n)], y=[n]) for n in range(4)]
        save(tmp_path / f"{shard}.tfrecord", *examples, pack=pack)
    save(tmp_path / "3.tfrecord")  # a writer that had no example leaves an empty file
    schema = Schema([Field("x", (2,), "float32"), Field("y", (1,), "uint8")])
    out = tmp_path / "out"
    records = prepare(tmp_path / "*.tfrecord", out, schema, TFRecord(schema), workers=1)
    found = records.gather(np.arange(12))
    assert found["x"].tolist() == [[shard, n] for shard in range(3) for n in range(4)]
    assert found["y"].ravel().tolist() == [0, 1, 2, 3] * 3


def test_a_schema_gives_shapes_and_text_and_picks_features(tmp_path: Path) -> None:
    image, box = list(range(12)), [0.0, 1.0, 2.0, 3.0]
    words = ["grün".encode(), b"red"]
    one = example(image=image, boxes=box, word=words[:1], words=words, left_out=[1])
    schema = Schema(
        [
            Field("image", (2, 2, 3), "uint8"),
            Field("boxes", (None, 4), "float32"),
            Field("word", (), "string"),
            Field("words", (None,), "string"),
            Field("absent", (None, 4), "float32"),
        ]
    )
    (row,) = rows(TFRecord(schema), save(tmp_path / "a", one))
    assert np.array_equal(row["image"], np.array(image).reshape(2, 2, 3))
    assert row["boxes"].tolist() == [box]
    assert row["word"] == "grün"
    assert row["words"].tolist() == ["grün", "red"]
    assert row["absent"].shape == (0, 4)


def test_the_bytes_of_an_array_are_read_as_the_schemas_numbers(tmp_path: Path) -> None:
    numbers = [1, -2, 300, 70_000]
    name = save(tmp_path / "a", example(raw=struct.pack("<4i", *numbers)))
    schema = Schema([Field("raw", (2, 2), "int32")])
    (row,) = rows(TFRecord(schema, raw=["raw"]), name)
    assert row["raw"].tolist() == [[1, -2], [300, 70_000]]
    with pytest.raises(DataError, match=r"record 0: .*holds bytes.*raw=\['raw'\]"):
        rows(TFRecord(schema), name)
    with pytest.raises(DataError, match="has 4 values"):
        rows(TFRecord([{"name": "raw", "shape": [3], "dtype": "int32"}], raw="raw"), name)
    save(tmp_path / "a", example(raw=b"abc"))
    with pytest.raises(DataError, match="record 0: the feature 'raw'"):
        rows(TFRecord(schema, raw="raw"), name)


def test_features_are_chosen_by_name(tmp_path: Path) -> None:
    name = save(tmp_path / "a", example(x=[1], y=[2], z=[3]))
    reader = TFRecord(features=["z", "x"]).for_files([name])
    assert reader.schema is not None
    assert list(reader.schema) == ["z", "x"]
    assert rows(reader, name) == [{"z": 3, "x": 1}]
    with pytest.raises(DataError, match=r"No example has the feature 'labl'; there are label\."):
        TFRecord(features=["labl"]).for_files([save(tmp_path / "b", example(label=[1]))])


def test_what_differs_after_the_schema_was_told_is_refused_with_its_record(tmp_path: Path) -> None:
    usual = [example(x=[1, 2])] * 150
    for odd, match in (
        (example(x=[1, 2, 3]), r"record 150: the feature 'x': int64 \[2\] .*3 values"),
        (example(x=[1.0, 2.0, 3.0]), "record 150"),
        (example(x=b"a"), "record 150: .*holds bytes"),
        (example(y=[1]), r"record 150: it has the features \['y'\]"),
        (example(), "record 150: it lacks the feature 'x'"),
        (b"hello", "record 150: the record is not a tf.train.Example"),
    ):
        with pytest.raises(DataError, match=match):
            rows(TFRecord(), save(tmp_path / "a", *usual, odd))


def test_what_does_not_fit_the_schema_is_refused(tmp_path: Path) -> None:
    name = save(tmp_path / "a", example(x=[1, 2], text=b"\xff", labels=[1]))
    for field, match in (
        (Field("x", (3,), "int64"), "2 values"),
        (Field("x", (None, 3), "int64"), "2 values"),
        (Field("x", (None, None), "int64"), "2 values"),
        (Field("x", (), "int64"), "2 values"),
        (Field("x", (2,), "bytes"), "it holds int64 numbers"),
        (Field("text", (), "string"), "not text in UTF-8"),
        (Field("label", (), "int64"), "lacks the feature 'label'.*Did you mean 'labels'"),
    ):
        with pytest.raises(DataError, match=rf"a, record 0: .*{match}"):
            rows(TFRecord(Schema([field])), name)
    with pytest.raises(DataError, match="'x'.*uint8"):
        rows(
            TFRecord(Schema([Field("x", (2,), "uint8")])), save(tmp_path / "b", example(x=[1, -1]))
        )


def test_a_feature_of_two_kinds_or_none_gives_no_schema(tmp_path: Path) -> None:
    name = save(tmp_path / "a", example(x=[1]), example(x=[1.5]))
    with pytest.raises(DataError, match="'x' is float32 in some examples and int64 in others"):
        TFRecord().for_files([name])
    with pytest.raises(DataError, match="has an example with features"):
        TFRecord().for_files([save(tmp_path / "b")])
    with pytest.raises(DataError, match="b, record 0: the record is not"):
        TFRecord().for_files([save(tmp_path / "b", b"hello")])


def test_a_long_list_of_files_is_looked_at_in_part(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{n:02}", example(x=[1])) for n in range(25)]
    for name in ("00", "01"):
        (tmp_path / name).write_bytes(b"damaged, and found when it is read")
    assert TFRecord().for_files(names).schema == Schema([Field("x", (), "int64")])
    save(tmp_path / "03", example(x=[1, 2]))
    assert TFRecord().for_files(names).schema == Schema([Field("x", (None,), "int64")])


def test_options_that_contradict_are_refused() -> None:
    schema = Schema([Field("x", (2,), "uint8"), Field("text", (), "string")])
    with pytest.raises(DataError, match="give either it or features"):
        TFRecord(schema, features=["x"])
    for raw in ("y", "text"):
        with pytest.raises(DataError, match=f"raw names '{raw}'"):
            TFRecord(schema, raw=[raw])
    with pytest.raises(DataError, match="raw names 'x'"):
        TFRecord(raw=["x"])
    with pytest.raises(DataError, match="no schema yet"):
        list(TFRecord()("a"))


# Two examples as tf.io.TFRecordWriter of TensorFlow 2.21 wrote them: label [-7, 300], word "abc";
# label [2**40], box [0.5, -2, 1e30].
BY_TENSORFLOW = """
2e00000000000000c5cb57fa0a2c0a190a056c6162656c12101a0e0a0cf9ffffffffffffffff01ac020a0f0a04776f72
6412070a050a0361626348287a6a300000000000000095f5d05f0a2e0a170a03626f781210120e0a0c0000003f000000
c0caf249710a130a056c6162656c120a1a080a0680808080802039557d5f
"""


def test_what_tensorflow_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(bytes.fromhex(BY_TENSORFLOW))
    reader = TFRecord().for_files([path.as_posix()])
    assert str(reader.schema) == (
        "'box': float32 [None]; 'label': int64 [None]; 'word': bytes [None]"
    )
    first, second = rows(reader, path.as_posix())
    assert (first["label"].tolist(), first["word"].tolist()) == ([-7, 300], [b"abc"])
    assert second["label"].tolist() == [2**40]
    assert second["box"].tolist() == [0.5, -2.0, float(np.float32(1e30))]
    assert second["word"].shape == first["box"].shape == (0,)

"""The parser of tf.train.Example, against protobuf's own and messages written byte by byte."""

import random
import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.readers.tf_example import parse_example
from dovetail.errors import DataError


def _message_classes() -> Any:
    """Build example.proto and feature.proto of TensorFlow with protobuf's own classes."""
    file = descriptor_pb2.FileDescriptorProto(name="ex.proto", package="ex", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def field(owner: Any, name: str, number: int, **options: Any) -> Any:
        return owner.field.add(
            name=name, number=number, **{"label": kind.LABEL_OPTIONAL, **options}
        )

    for name, what in (
        ("BytesList", kind.TYPE_BYTES),
        ("FloatList", kind.TYPE_FLOAT),
        ("Int64List", kind.TYPE_INT64),
    ):
        field(message(name), "value", 1, type=what, label=kind.LABEL_REPEATED)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        held = ".ex." + "".join(part.capitalize() for part in name.split("_"))
        field(feature, name, number, type=kind.TYPE_MESSAGE, type_name=held, oneof_index=0)
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, type=kind.TYPE_STRING)
    field(entry, "value", 2, type=kind.TYPE_MESSAGE, type_name=".ex.Feature")
    held = ".ex.Features.FeatureEntry"
    options = {"type": kind.TYPE_MESSAGE, "type_name": held, "label": kind.LABEL_REPEATED}
    field(features, "feature", 1, **options)
    field(message("Example"), "features", 1, type=kind.TYPE_MESSAGE, type_name=".ex.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ex.Example"))


EXAMPLE = _message_classes()


def by_protobuf(data: bytes) -> dict[str, Any]:
    message = EXAMPLE.FromString(data)
    found = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            found[name] = (kind, list(getattr(feature, kind).value))
    return found


def by_us(data: bytes) -> dict[str, Any]:
    kinds = {"float32": "float_list", "int64": "int64_list"}
    return {
        name: ("bytes_list", values)
        if isinstance(values, list)
        else (kinds[values.dtype.name], values.tolist())
        for name, values in parse_example(data).items()
    }


VALUES = st.one_of(
    st.tuples(st.just("bytes_list"), st.lists(st.binary(max_size=200), max_size=5)),
    st.tuples(st.just("float_list"), st.lists(st.floats(width=32, allow_nan=False), max_size=40)),
    st.tuples(st.just("int64_list"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)),
)


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=6))
def test_any_example_that_protobuf_writes_is_read_as_it_was_meant(features: dict[str, Any]) -> None:
    message = EXAMPLE()
    for name, (kind, values) in features.items():
        held = getattr(message.features.feature[name], kind)
        held.SetInParent()
        held.value.extend(values)
    data = message.SerializeToString()
    assert by_us(data) == by_protobuf(data) == features


def part(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def example(*entries: tuple[str, bytes]) -> bytes:
    inside = [part(1, part(1, name.encode()) + part(2, feature)) for name, feature in entries]
    return part(1, b"".join(inside))


PACKED = part(3, part(1, bytes([1, 0xAC, 0x02])))  # 300 is the encoding's own published example
SINGLE = part(3, bytes([8, 1, 8, 0xAC, 2]))
MINUS_ONE = part(3, part(1, b"\xff" * 9 + b"\1"))
FLOATS = part(2, part(1, struct.pack("<2f", 0.5, -2)))
SINGLE_FLOATS = part(2, b"\x0d" + struct.pack("<f", 0.5) + b"\x0d" + struct.pack("<f", -2))
UNKNOWN = bytes([15 << 3, 5, 14 << 3 | 1, *bytes(8), 13 << 3 | 5, *bytes(4)]) + part(12, b"abc")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (part(1, b""), {}),
        (example(("a", PACKED)), {"a": ("int64_list", [1, 300])}),
        (example(("a", SINGLE)), {"a": ("int64_list", [1, 300])}),
        (example(("a", PACKED[:0] + part(3, PACKED[2:] + SINGLE[2:]))), None),
        (example(("a", MINUS_ONE)), {"a": ("int64_list", [-1])}),
        (example(("a", FLOATS)), {"a": ("float_list", [0.5, -2])}),
        (example(("a", SINGLE_FLOATS)), {"a": ("float_list", [0.5, -2])}),
        (example(("a", part(1, part(1, b"x") + part(1, b"")))), {"a": ("bytes_list", [b"x", b""])}),
        (example(("a", part(3, b""))), {"a": ("int64_list", [])}),
        (example(("a", b"")), {}),
        # Parts of one message join, of two entries for a key the last counts, as of two kinds.
        (example(("a", PACKED + SINGLE)), {"a": ("int64_list", [1, 300, 1, 300])}),
        (example(("a", FLOATS + PACKED)), {"a": ("int64_list", [1, 300])}),
        (example(("a", PACKED + FLOATS + PACKED)), {"a": ("int64_list", [1, 300])}),
        (example(("a", PACKED), ("a", FLOATS)), {"a": ("float_list", [0.5, -2])}),
        (example(("a", PACKED)) + example(("b", FLOATS)), None),
        (UNKNOWN + example(("a", UNKNOWN + PACKED + UNKNOWN)) + UNKNOWN, None),
    ],
)
def test_each_form_that_the_wire_format_allows_is_read(data: bytes, expected: Any) -> None:
    assert by_us(data) == by_protobuf(data)
    if expected is not None:
        assert by_us(data) == expected


def test_an_example_cut_or_altered_is_refused_or_read_as_protobuf_reads_it() -> None:
    whole = example(("a", PACKED), ("text", part(1, part(1, b"abc"))), ("f", FLOATS), ("b", SINGLE))
    source = random.Random(0)
    damaged = [whole[:length] for length in range(len(whole))]
    for _ in range(500):
        place, value = source.randrange(len(whole)), source.randrange(256)
        damaged.append(whole[:place] + bytes([value]) + whole[place + 1 :])
    refused = 0
    for data in damaged:
        try:
            found = by_us(data)
        except DataError as error:
            assert "not a tf.train.Example" in str(error)  # noqa: PT017
            refused += 1
            continue
        assert str(sorted(found.items())) == str(
            sorted(by_protobuf(data).items())
        )  # as text, in which NaN is NaN
    assert refused > len(damaged) // 4


@pytest.mark.parametrize(
    "data",
    [
        bytes([10, 5, 0]),  # longer than what holds it
        bytes([0, 0]),  # field number 0
        bytes([11]),  # a group
        bytes([8, 1]),  # a number where the features must be
        b"\x80" * 11,
        example(("a", part(3, part(1, b"\x80")))),
        example(("a", part(3, part(1, b"\x80" * 11 + b"\1")))),
        example(("a", part(2, part(1, b"abc")))),
        part(1, part(1, part(1, b"\xff\xfe") + part(2, PACKED))),  # a name that is not UTF-8
    ],
)
def test_what_is_no_example_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a tf.train.Example"):
        parse_example(data)


def test_the_largest_and_smallest_numbers_are_exact() -> None:
    message = EXAMPLE()
    numbers = [0, 1, 127, 128, 2**31, 2**62, 2**63 - 1, -1, -(2**63), -(2**31)]
    message.features.feature["a"].int64_list.value.extend(numbers)
    found = parse_example(message.SerializeToString())["a"]
    assert isinstance(found, np.ndarray)
    assert found.tolist() == numbers

"""Parse tf.train.Example, the message that TFRecord files usually hold, without TensorFlow.

    message Example   { Features features = 1; }
    message Features  { map<string, Feature> feature = 1; }
    message Feature   { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2;
                                     Int64List int64_list = 3; } }
    message BytesList { repeated bytes value = 1; }
    message FloatList { repeated float value = 1 [packed = true]; }
    message Int64List { repeated int64 value = 1 [packed = true]; }

Sources: tensorflow/core/example/example.proto and feature.proto; the wire format as described in
protobuf.dev's "Encoding": unknown fields are skipped, packed and single values are both taken,
parts of one message are joined, and of two entries for one key the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dovetail.errors import DataError

# A feature's values: int64 or float32 of shape [count], or a list of bytes.
FeatureValues = np.ndarray | list[bytes]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers of a Feature's kinds


def parse_example(message: bytes) -> dict[str, FeatureValues]:
    """Parse a serialised tf.train.Example.

    Args:
      message: the bytes of one record.

    Returns:
      the features by name: a list of bytes, or an array of float32 or int64, of shape [count]. A
      feature of no kind is left out.

    Raises:
      DataError: the bytes are not such a message.

    >>> parse_example(bytes.fromhex("0a0e0a0c0a0161120 71a050a030102 03".replace(" ", "")))
    {'a': array([1, 2, 3])}
    """
    features: dict[str, FeatureValues] = {}
    try:
        for number, part in _parts(memoryview(message)):
            if number != 1:
                continue
            for inner, entry in _parts(part):
                if inner == 1:
                    name, values = _entry(entry)
                    features.pop(name, None)
                    if values is not None:
                        features[name] = values
    except (IndexError, ValueError) as error:
        raise DataError(f"the record is not a tf.train.Example ({error})") from error
    return features


def _entry(entry: memoryview) -> tuple[str, FeatureValues | None]:
    name, feature = "", []
    for number, wire, part in _fields(entry):
        # A map's entry is never extended, and protobuf's readers do not agree on one that is.
        if number not in (1, 2) or wire != _BYTES:
            raise ValueError("a feature's entry holds more than its name and values")
        if number == 1:
            name = bytes(part).decode()
        else:
            feature.append(part)
    kinds = [one for part in feature for one in _parts(part) if one[0] in (1, 2, 3)]
    if not kinds:
        return name, None
    last = kinds[-1][0]
    same = []  # of a oneof the last kind counts; parts of one kind that follow each other join
    for number, part in reversed(kinds):
        if number != last:
            break
        same.append(part)
    same.reverse()
    if last == _BYTES_LIST:
        return name, [bytes(one) for part in same for number, one in _parts(part) if number == 1]
    decode = _floats if last == _FLOAT_LIST else _integers
    return name, _join([decode(part) for part in same], np.float32 if last == 2 else np.int64)


def _floats(part: memoryview) -> np.ndarray:
    found = []
    for number, wire, value in _fields(part):
        if number == 1:
            if wire not in (_BYTES, _FIXED32) or len(value) % 4:
                raise ValueError("a float list holds something else")
            found.append(np.frombuffer(value, "<f4"))
    return _join(found, np.float32)


def _integers(part: memoryview) -> np.ndarray:
    found = []
    for number, wire, value in _fields(part):
        if number == 1:
            if wire not in (_BYTES, _VARINT):
                raise ValueError("an int64 list holds something else")
            found.append(_varints(value))
    return _join(found, np.int64)


def _join(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0].astype(dtype)
    return np.concatenate(arrays).astype(dtype) if arrays else np.empty(0, dtype)


def _varints(data: memoryview) -> np.ndarray:
    """Decode varints, seven bits a byte from the lowest on, the eighth saying that more follow."""
    octets = np.frombuffer(data, np.uint8)
    if not octets.size:
        return np.empty(0, np.int64)
    if octets[-1] & 128:
        raise ValueError("a number is cut")
    if not (octets & 128).any():
        return octets.astype(np.int64)
    ends = np.flatnonzero(octets < 128)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(octets.size) - np.repeat(starts, ends - starts + 1)
    if places.max() > 9:
        raise ValueError("a number has more than 10 bytes")
    # Of a tenth byte protobuf keeps the lowest bit, as the shift by 63 does.
    bits = (octets & 127).astype(np.uint64) << (places * 7).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and content of a message's fields that hold messages, text or bytes."""
    for number, wire, value in _fields(message):
        if wire == _BYTES:
            yield number, value
        elif number == 1:
            raise ValueError("a number stands where a message must")


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield each field's number, wire type and bytes; a varint's are its own encoding."""
    at, end = 0, len(message)
    while at < end:
        key = message[at]
        at += 1
        if key > 127:
            key, at = _varint(message, at - 1)
        number, wire = key >> 3, key & 7
        if not number:
            raise ValueError("a field has the number 0")
        start = at
        if wire == _BYTES:
            if at < end and message[at] < 128:  # as nearly all are: a call less
                length, start = message[at], at + 1
            else:
                length, start = _varint(message, at)
            at = start + length
        elif wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field has the wire type {wire}")
        if at > end:
            raise ValueError("a field is longer than what holds it")
        yield number, wire, message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 10 bytes")

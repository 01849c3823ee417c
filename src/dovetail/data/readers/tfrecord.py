"""Read TFRecord files of tf.train.Example, without TensorFlow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dovetail.data.readers.tf_example import FeatureValues, parse_example
from dovetail.data.readers.tfrecord_file import Compression, read_records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

# What the files hold is told from this many of them, spread evenly, and the first records of each.
_FILES, _RECORDS = 10, 100


@dataclass(frozen=True)
class TFRecord:
    """A reader for TFRecord files of tf.train.Example: each feature is a field of its name.

    With a schema, a feature's values are brought to its field's shape (784 values to [28, 28, 1];
    as many as there are to [None]), text is decoded for fields of dtype "string", and features
    that are no field are left out; one that an example lacks is empty where the field's size
    varies, and else an error.

    Without one, the schema is told from the first 100 records of up to 10 files: float32, int64 or
    bytes; a scalar where each example has one value, [n] where each has n, else [None]. A record
    that differs later is refused and not squeezed in: then give a schema.

    Args:
      schema: fields to read; None tells them from the files.
      features: names of the features to read, without a schema; None takes all.
      raw: names of features that hold an array's bytes, little-endian, as tf.io.decode_raw reads
        them; their fields' dtypes in the schema say which numbers they are.
      compression: "none", "gzip", or "auto" to tell by each file's first bytes.

    Raises:
      DataError: an option does not fit the others.

    >>> schema = Schema([Field("image", (28, 28), "uint8"), Field("label", (), "int64")])
    >>> reader = TFRecord(schema, raw=["image"])
    >>> print(reader.schema)
    'image': uint8 [28, 28]; 'label': int64 []
    """

    schema: Schema | None = None
    features: tuple[str, ...] | None = None
    raw: tuple[str, ...] = ()
    compression: Compression = "auto"
    _told: bool = field(default=False, init=False, repr=False, compare=False)

    def __init__(
        self,
        schema: Schema | Iterable[Mapping[str, Any]] | None = None,
        *,
        features: Sequence[str] | None = None,
        raw: Sequence[str] = (),
        compression: Compression = "auto",
    ) -> None:
        schema = None if schema is None else Schema.from_list(schema)
        raw = _names(raw) or ()
        if schema is not None and features is not None:
            raise DataError(
                "TFRecord: a schema says which features to read; give either it or features."
            )
        for name in raw:
            if schema is None or name not in schema or not schema[name].is_numeric:
                raise DataError(
                    f"TFRecord: raw names '{name}', for which the schema must have a field of "
                    f"numbers; the schema is {schema}."
                )
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "features", _names(features))
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "compression", compression)

    def for_files(self, names: Iterable[str]) -> TFRecord:
        """Return this reader with a schema: its own, or what these files' first records hold.

        Args:
          names: files that are going to be read.

        Raises:
          DataError: naming the file: no file can be read, or a feature is asked for that no
            example has; or no file has a record. A file that can't be read beside others that can
            is passed over here.
        """
        if self.schema is not None:
            return self
        made = TFRecord(_tell_schema(list(names), self), compression=self.compression)
        object.__setattr__(made, "features", self.features)
        object.__setattr__(made, "_told", True)
        return made

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the examples of one file.

        Args:
          filename: path of the file.

        Raises:
          DataError: naming the file and the record: it is damaged, or does not fit the schema.
        """
        if self.schema is None:
            raise DataError("TFRecord has no schema yet: give one, or call for_files(names) first.")
        for number, message in enumerate(read_records(filename, self.compression)):
            try:
                yield self._row(parse_example(message), self.schema)
            except DataError as error:
                raise DataError(f"{filename}, record {number}: {error}") from error

    def _row(self, example: dict[str, FeatureValues], schema: Schema) -> dict[str, Any]:
        if self._told and self.features is None and not example.keys() <= schema.keys():
            extra = sorted(example.keys() - schema.keys())
            raise DataError(
                f"it has the features {extra}, which none of those had that the schema was told "
                "from. Give a schema with them, or name the features to read."
            )
        return {one.name: self._value(example, one) for one in schema.fields}

    def _value(self, example: dict[str, FeatureValues], wanted: Field) -> Any:
        values = example.get(wanted.name)
        if values is None:
            if None not in wanted.shape:
                raise DataError(
                    f"it lacks the feature {wanted}; it has {', '.join(sorted(example)) or 'none'}."
                    f"{nearest(wanted.name, example)}"
                )
            values = np.empty(0, wanted.dtype) if wanted.is_numeric else []
        if isinstance(values, list):
            return self._from_bytes(values, wanted)
        if not wanted.is_numeric:
            raise DataError(f"the feature {wanted} was expected; it holds {values.dtype} numbers.")
        return _shaped(values, wanted)

    def _from_bytes(self, values: list[bytes], wanted: Field) -> Any:
        if wanted.name in self.raw:
            try:
                data = np.frombuffer(b"".join(values), wanted.numpy_dtype.newbyteorder("<"))
            except ValueError as error:
                raise DataError(f"the feature {wanted}: {error}.") from error
            return _shaped(data.astype(wanted.numpy_dtype), wanted)
        if wanted.is_numeric:
            raise DataError(
                f"the feature {wanted} was expected; it holds bytes. If those are an array's, name "
                f"it in TFRecord(schema, raw=['{wanted.name}']); an encoded image has dtype bytes."
            )
        array = np.empty(len(values), object)
        try:
            for index, value in enumerate(values):
                array[index] = value.decode() if wanted.dtype == "string" else value
        except UnicodeDecodeError as error:
            raise DataError(f"the feature {wanted}: it is not text in UTF-8 ({error}).") from error
        shaped = _shaped(array, wanted)
        return shaped[()] if wanted.shape == () else shaped


def _names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def _shaped(values: np.ndarray, wanted: Field) -> np.ndarray:
    """Bring a feature's values to the field's shape; one size that varies takes what is left."""
    known = math.prod(size for size in wanted.shape if size is not None)
    open_sizes = wanted.shape.count(None)
    if len(values) == known or (open_sizes == 1 and len(values) % known == 0):
        return values.reshape([len(values) // known if n is None else n for n in wanted.shape])
    raise DataError(f"the feature {wanted} was expected; it has {len(values)} values.")


def _tell_schema(names: list[str], reader: TFRecord) -> Schema:
    kinds: dict[str, set[str]] = {}
    counts: dict[str, list[int]] = {}
    examples = 0
    failed: DataError | None = None
    for name in names[:: max(1, -(-len(names) // _FILES))]:
        try:
            for example in itertools.islice(_examples(name, reader.compression), _RECORDS):
                examples += 1
                for feature, values in example.items():
                    kind = "bytes" if isinstance(values, list) else values.dtype.name
                    kinds.setdefault(feature, set()).add(kind)
                    counts.setdefault(feature, []).append(len(values))
        except DataError as error:
            failed = failed or error
    if not kinds:
        raise failed or DataError(
            f"None of {names[:_FILES]} has an example with features to tell a schema from."
        )
    for feature in reader.features or ():
        if feature not in kinds:
            known = sorted(kinds)
            raise DataError(
                f"No example has the feature '{feature}'; there are {', '.join(known)}."
                f"{nearest(feature, known)}"
            )
    return Schema(
        _tell_field(feature, kinds[feature], counts[feature], examples)
        for feature in reader.features or sorted(kinds)
    )


def _examples(name: str, compression: Compression) -> Iterator[dict[str, FeatureValues]]:
    for number, message in enumerate(read_records(name, compression)):
        try:
            yield parse_example(message)
        except DataError as error:
            raise DataError(f"{name}, record {number}: {error}") from error


def _tell_field(name: str, kinds: set[str], counts: list[int], examples: int) -> Field:
    if len(kinds) > 1:
        raise DataError(
            f"The feature '{name}' is {' in some examples and '.join(sorted(kinds))} in others. "
            "Give a schema."
        )
    every = set(counts) | ({0} if len(counts) < examples else set())
    count = every.pop() if len(every) == 1 else 0
    shape = () if count == 1 else (count or None,)
    return Field(name, shape, kinds.pop())

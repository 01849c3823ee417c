"""TensorBoard event files as they lie on disk: read, and rewound when a run resumes.

An event file is a sequence of records: uint64 length, masked CRC of the length, the serialised
Event, masked CRC of it (TensorFlow's TFRecord framing). A killed run may leave the last record
cut short; everything before it is whole.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dovetail.run.event_protos import Event, SessionLog

PREFIX = "events.out.tfevents."
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def event_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the event files directly in a folder, in the order in which they were begun."""
    try:
        entries = sorted(Path(folder).iterdir())
    except FileNotFoundError:
        return []
    return [path for path in entries if path.name.startswith(PREFIX) and path.is_file()]


def record(payload: bytes) -> bytes:
    """Return the bytes of one record that holds payload."""
    # Imported when first needed: it brings in numpy.
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _FOOTER.pack(masked_crc32c(length)), payload, _FOOTER.pack(masked_crc32c(payload)))
    )


def read_events(path: Path) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, end, event) of each whole record, in bytes; end at the first that is not.

    The checksum of an event is computed for the last record alone, the one that a kill can tear:
    tensorboard's is plain Python, 0.1 microseconds a byte.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    size = path.stat().st_size
    start = 0
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            end = start + _HEADER.size + length + _FOOTER.size
            if end > size or masked_crc32c(header[:8]) != checksum:
                return
            payload, footer = file.read(length), file.read(_FOOTER.size)
            if len(footer) < _FOOTER.size:
                return
            if end == size and masked_crc32c(payload) != _FOOTER.unpack(footer)[0]:
                return
            try:
                event = Event.FromString(payload)
            except DecodeError:
                return
            yield start, end, event
            start = end


def rewind(folder: str | os.PathLike[str], keep: Callable[[int], bool]) -> int:
    """Drop the events whose step is not kept, and records cut short, from a folder's files.

    Args:
      folder: where the event files are; it need not exist.
      keep: step -> whether events of that step stay.

    Returns:
      How many events were dropped.
    """
    return sum(_rewind_file(path, keep) for path in event_files(folder))


def _rewind_file(path: Path, keep: Callable[[int], bool]) -> int:
    kept: list[tuple[int, int]] = []
    dropped = 0
    for start, end, event in read_events(path):
        if event.HasField("file_version") or keep(event.step):
            kept.append((start, end))
        else:
            dropped += 1
    length = sum(end - start for start, end in kept)
    if length == path.stat().st_size:
        return 0
    if not kept or kept[-1][1] == length:  # what stays is the file's beginning
        os.truncate(path, length)
        return dropped
    content = path.read_bytes()
    aside = path.with_name(f".{path.name}.part")  # no event file by its name, if we are killed
    aside.write_bytes(b"".join(content[start:end] for start, end in kept))
    aside.replace(path)
    return dropped


def read_scalars(folder: str | os.PathLike[str]) -> dict[str, list[tuple[int, float]]]:
    """Return the curves in a folder's event files.

    Args:
      folder: where the event files are, such as a model_dir or its `eval/`.

    Returns:
      tag -> [(step, value), ...] in the order written.

    >>> read_scalars("no-such-folder")
    {}
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in event_files(folder):
        for _, _, event in read_events(path):
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                for tag, points in curves.items():
                    curves[tag] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                number = _number(value)
                if number is not None:
                    curves.setdefault(value.tag, []).append((event.step, number))
    return {tag: points for tag, points in curves.items() if points}


def last_scalars(folder: str | os.PathLike[str]) -> tuple[int, dict[str, float]] | None:
    """Return the step and the values of the newest point of a folder's curves; None without any.

    It is quick however long the run was: only the ends of the newest files are read.

    >>> last_scalars("no-such-folder") is None
    True
    """
    for path in reversed(event_files(folder)):
        for event in reversed(_last_events(path, 32)):
            numbers = {value.tag: _number(value) for value in event.summary.value}
            found = {tag: number for tag, number in numbers.items() if number is not None}
            if found:
                return event.step, found
    return None


def _last_events(path: Path, count: int) -> list[Any]:
    """Return the last whole events of a file; what they say of their lengths is believed."""
    from google.protobuf.message import DecodeError

    with path.open("rb") as file:
        if path.stat().st_size < _HEADER.size:
            return []
        # Mapped: of a log with images only the pages that hold a length are read.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            places: deque[tuple[int, int]] = deque(maxlen=count)
            start = 0
            while start + _HEADER.size <= len(data):
                begin = start + _HEADER.size
                end = begin + _HEADER.unpack_from(data, start)[0]
                start = end + _FOOTER.size
                if start > len(data):
                    break
                places.append((begin, end))
            payloads = [data[begin:end] for begin, end in places]
    try:
        return [Event.FromString(payload) for payload in payloads]
    except DecodeError:
        return []


def _number(value: Any) -> float | None:
    """Return the number in a summary value of either of TensorBoard's two styles, or None."""
    if value.HasField("simple_value"):
        return value.simple_value
    if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
        from tensorboard.util.tensor_util import make_ndarray

        return float(make_ndarray(value.tensor).item())
    return None

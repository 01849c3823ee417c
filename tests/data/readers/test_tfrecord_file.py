"""The framing of TFRecord files."""

import gzip
import struct
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from dovetail.data.readers.tfrecord_file import read_records
from dovetail.errors import DataError


def checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(*records: bytes) -> bytes:
    pieces = []
    for data in records:
        length = struct.pack("<Q", len(data))
        pieces += [length, checksum(length), data, checksum(data)]
    return b"".join(pieces)


RECORDS = [b"", b"foo", bytes(range(256)) * 3]
WHOLE = frame(*RECORDS)
ENDS = [0, 16, 35, len(WHOLE)]  # where a cut leaves whole records


def read(tmp_path: Path, data: bytes, compression: str = "auto") -> list[bytes]:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(data)
    return list(read_records(path.as_posix(), compression))  # type: ignore[arg-type]


def test_records_are_read_in_order(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == RECORDS
    assert read(tmp_path, WHOLE, "none") == RECORDS
    assert read(tmp_path, b"") == []


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(WHOLE)) == RECORDS
    assert read(tmp_path, gzip.compress(WHOLE), "gzip") == RECORDS
    assert read(tmp_path, gzip.compress(b"")) == []
    with pytest.raises(DataError, match="not a TFRecord file, or it is damaged or compressed"):
        read(tmp_path, gzip.compress(WHOLE), "none")
    with pytest.raises(DataError, match="can't be read"):
        read(tmp_path, WHOLE, "gzip")


def test_a_length_that_looks_as_gzip_does_is_told_by_its_checksum(tmp_path: Path) -> None:
    record = bytes(0x8B1F)
    data = frame(record)
    assert data[:2] == b"\x1f\x8b"
    assert read(tmp_path, data) == [record]


def test_event_files_as_tensorboard_writes_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for step in range(50):
            writer.write(Event(step=step).SerializeToString())
        writer.flush()
    found = [Event.FromString(record).step for record in read_records(path.as_posix())]
    assert found == list(range(50))


@pytest.mark.parametrize("pack", [False, True])
def test_every_cut_within_a_record_is_refused(tmp_path: Path, pack: bool) -> None:
    for length in [*range(60), len(WHOLE) - 5, len(WHOLE) - 1]:
        data = gzip.compress(WHOLE[:length]) if pack else WHOLE[:length]
        if length in ENDS:
            assert read(tmp_path, data) == RECORDS[: ENDS.index(length)]
        else:
            with pytest.raises(DataError, match=r"a\.tfrecord, record \d+ at byte \d+.*ends"):
                read(tmp_path, data)


def test_every_flipped_byte_is_found_before_its_record_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    for place in range(len(WHOLE)):
        path.write_bytes(WHOLE[:place] + bytes([WHOLE[place] ^ 1]) + WHOLE[place + 1 :])
        given: list[bytes] = []
        with pytest.raises(DataError, match="checksum of its"):
            collect(path, given)
        assert given == RECORDS[: len(given)]
        assert ENDS[len(given)] <= place


def collect(path: Path, given: list[bytes]) -> None:
    for record in read_records(path.as_posix()):
        given.append(record)


def test_the_record_and_its_place_are_named(tmp_path: Path) -> None:
    damaged = bytearray(WHOLE)
    damaged[40] ^= 1
    with pytest.raises(DataError, match="record 2 at byte 35: the checksum of its length"):
        read(tmp_path, bytes(damaged))


def test_a_length_that_is_a_lie_asks_for_no_memory(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    with pytest.raises(DataError, match="ends after 3 of"):
        read(tmp_path, length + checksum(length) + b"abc")


def test_files_of_other_kinds_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record 0 at byte 0.*not a TFRecord file"):
        read(tmp_path, b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(DataError, match="ends within the record's header"):
        read(tmp_path, b"hello")
    with pytest.raises(DataError, match="'auto', 'none' or 'gzip'"):
        read(tmp_path, WHOLE, "zip")
    with pytest.raises(DataError, match=r"nothing\.tfrecord"):
        list(read_records("nothing.tfrecord"))

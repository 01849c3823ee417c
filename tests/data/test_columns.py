"""One field's values of some rows, and which rows a damaged place holds."""

import re

import numpy as np
import pytest

from dovetail.data.columns import assembled
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 17, 70_000, 200_000])
def test_rows_of_any_size_are_gathered_whole(tmp_path, size):
    rng = np.random.default_rng(size)
    values = rng.integers(0, 256, (9, size), dtype=np.uint8)
    with RecordWriter(
        tmp_path / "r", Schema([Field("x", (size,), "uint8")]), shard_bytes=3 * size
    ) as writer:
        for value in values:
            writer.append((value,))
    rows = rng.integers(0, 9, 30)
    np.testing.assert_array_equal(Records(tmp_path / "r").gather(rows)["x"], values[rows])


ROWS = 20_000  # so that each buffer is longer than a block
FIELDS = {
    "fixed": (Field("x", (40,), "uint8"), lambda row: np.full(40, row % 256, np.uint8)),
    "ragged": (Field("x", (None, 2), "int32"), lambda row: np.full((row % 9, 2), row, np.int32)),
    "text": (Field("x", (), "string"), lambda row: f"text of row {row}" * (row % 3)),
    "texts": (Field("x", (None,), "string"), lambda row: np.array([f"{row}"] * (row % 5), object)),
}
BUFFERS = {"fixed": 1, "ragged": 3, "text": 2, "texts": 3}


@pytest.mark.parametrize("kind", FIELDS)
def test_damage_in_any_buffer_names_the_rows_that_are_lost(tmp_path, kind):
    field, value = FIELDS[kind]
    with RecordWriter(tmp_path / "r", Schema([field])) as writer:
        for row in range(ROWS):
            writer.append((value(row),))
    shard = Records(tmp_path / "r").manifest.shards[0]
    path = tmp_path / "r" / shard.file
    whole = path.read_bytes()
    ends = sorted([*shard.buffers["x"], shard.bytes])
    assert len(shard.buffers["x"]) == BUFFERS[kind]
    for start in shard.buffers["x"]:
        content = bytearray(whole)
        content[(start + ends[ends.index(start) + 1]) // 2] ^= 255
        path.write_bytes(content)
        records = Records(tmp_path / "r")
        with pytest.raises(DataError) as caught:
            records.verify()
        [(low, high)] = re.findall(r"rows (\d+) to (\d+) of field 'x'", str(caught.value))
        lost = [row for row in range(0, ROWS, 11) if is_lost(records, row)]
        assert lost
        assert int(low) <= lost[0]
        assert lost[-1] <= int(high)


def is_lost(records, row):
    try:
        records.gather([row])
    except DataError:
        return True
    return False


def test_columns_gathered_in_pieces_are_put_together_row_by_row():
    pieces = [
        (np.array([3, 0]), {"x": np.array([[3, 3], [0, 0]]), "text": ["d", "a"]}),
        (np.array([1, 2]), {"x": np.array([[1, 1], [2, 2]]), "text": ["b", "c"]}),
    ]
    whole = assembled(4, pieces)
    np.testing.assert_array_equal(whole["x"], np.arange(4)[:, None] * [1, 1])
    assert whole["text"] == ["a", "b", "c", "d"]
    assert assembled(0, []) == {}

"""Compressed shards give what plain ones give, to us and to any Arrow tool."""

import pickle
import threading

import numpy as np
import pyarrow as pa
import pytest

from dovetail.data.compressed import CompressedRows
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.data.shards import Shards
from dovetail.errors import DataError

SCHEMA = Schema(
    [
        Field("image", (20, 20), "uint8"),
        Field("label", (), "int64"),
        Field("flag", (1,), "bool"),
        Field("tokens", (None, 2), "float32"),
        Field("text", (), "string"),
        Field("words", (None,), "string"),
        Field("raw", (), "bytes"),
    ]
)


def rows(count):
    rng = np.random.default_rng(0)
    for number in range(count):
        length = int(rng.integers(0, 5))
        yield {
            "image": np.full((20, 20), number % 251, np.uint8),
            "label": number,
            "flag": [number % 3 == 0],
            "tokens": rng.random((length, 2), np.float32),
            "text": f"row {number}",
            "words": np.array([f"w{at}" for at in range(length)], object),
            "raw": bytes(rng.integers(0, 256, length, dtype=np.uint8)),
        }


def stored(place, compression, count=600, shard_bytes=150_000):
    with RecordWriter(place, SCHEMA, shard_bytes=shard_bytes, compression=compression) as writer:
        for row in rows(count):
            writer.append(row)
    return Records(place)


def same(one, other):
    assert one.keys() == other.keys()
    for name, column in one.items():
        assert type(column) is type(other[name])
        for value, twin in zip(column, other[name], strict=True):
            np.testing.assert_array_equal(value, twin)
            assert getattr(value, "dtype", None) == getattr(twin, "dtype", None)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_rows_are_the_plain_ones(tmp_path, codec):
    plain, packed = stored(tmp_path / "plain", None), stored(tmp_path / codec, codec)
    assert packed.manifest.bytes < plain.manifest.bytes / 2
    assert len(packed.manifest.shards) > 1
    assert len(packed.manifest.shards[0].row_blocks) > 1
    for chosen in [np.arange(600), np.random.default_rng(1).integers(0, 600, 64), [], [599]]:
        same(packed.gather(chosen), plain.gather(chosen))
    same(packed.gather([5, 5, 0], ["text", "label"]), plain.gather([5, 5, 0], ["text", "label"]))
    packed.verify()
    same(pickle.loads(pickle.dumps(packed)).gather([7]), plain.gather([7]))


def test_the_codec_is_part_of_the_manifest_and_plain_sets_are_as_ever(tmp_path):
    assert stored(tmp_path / "plain", None).manifest.compression is None
    assert '"version": 1' in (tmp_path / "plain" / "manifest.json").read_text()
    assert stored(tmp_path / "zstd", "zstd").manifest.compression == "zstd"
    assert '"version": 2' in (tmp_path / "zstd" / "manifest.json").read_text()
    with pytest.raises(DataError, match="one of lz4, zstd; got 'ztsd'.*mean 'zstd'"):
        RecordWriter(tmp_path / "other", SCHEMA, compression="ztsd")


def test_any_arrow_tool_reads_compressed_shards(tmp_path):
    stored(tmp_path / "r", "zstd")
    tables = [
        pa.ipc.open_file(path).read_all() for path in sorted((tmp_path / "r").glob("*.arrow"))
    ]
    table = pa.concat_tables(tables)
    assert table["text"].to_pylist() == [f"row {number}" for number in range(600)]
    assert table["label"].to_pylist() == list(range(600))


def test_what_is_written_to_a_batch_stays_in_it(tmp_path):
    records = stored(tmp_path / "r", "lz4")
    before = records.gather([3])
    for value in (before["image"], before["tokens"][0]):
        value += 1
    assert records.gather([3])["image"][0, 0, 0] == 3


def test_few_blocks_are_kept_and_all_rows_still_come(tmp_path):
    packed = stored(tmp_path / "r", "lz4")
    entries = packed.manifest.shards
    small = CompressedRows(SCHEMA, Shards(packed.path, entries), entries, cache_bytes=1)
    chosen = np.random.default_rng(0).permutation(600)
    same(small.gather(chosen, list(SCHEMA)), packed.gather(chosen))
    assert len(small._cache) == 1
    bounded = CompressedRows(SCHEMA, Shards(packed.path, entries), entries, cache_bytes=200_000)
    bounded.gather(chosen, ["label"])
    assert 1 < len(bounded._cache) < sum(len(entry.row_blocks) for entry in entries)
    kept = sum(size for _, size in bounded._cache.values())
    assert kept == bounded._cached_bytes <= 200_000


def test_several_threads_share_the_blocks(tmp_path):
    packed = stored(tmp_path / "r", "lz4")
    packed._compressed._cache_bytes = 150_000
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            chosen = rng.integers(0, 600, 16)
            if packed.gather(chosen)["label"].tolist() != chosen.tolist():
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_damaged_block_names_shard_and_rows_and_spares_the_others(tmp_path):
    records = stored(tmp_path / "r", "lz4", count=4000, shard_bytes=1 << 30)
    shard = records.manifest.shards[0]
    assert shard.bytes > 3 << 16
    middle = len(shard.row_blocks) // 2
    block = shard.row_blocks[middle]
    file = tmp_path / "r" / shard.file
    content = bytearray(file.read_bytes())
    content[block.end - 100] ^= 1
    file.write_bytes(content)
    records = Records(tmp_path / "r")
    row = sum(one.rows for one in shard.row_blocks[:middle])
    with pytest.raises(DataError, match=r"shard-00000.arrow is damaged.*rows \d+ to \d+ of field"):
        records.gather([row])
    assert records.gather([0])["label"].tolist() == [0]
    with pytest.raises(DataError, match="is damaged:\n  shard-00000.arrow"):
        records.verify()


def test_bytes_that_were_written_wrong_are_refused_with_their_rows(tmp_path, monkeypatch):
    records = stored(tmp_path / "r", "lz4")

    def broken(*_):
        raise pa.ArrowInvalid("nonsense")

    monkeypatch.setattr("pyarrow.ipc.read_record_batch", broken)
    with pytest.raises(DataError, match="rows 0 to .* of field 'image'"):
        records.gather([0])


def test_the_bytes_of_the_files_are_a_function_of_the_rows(tmp_path):
    for name in "ab":
        stored(tmp_path / name, "zstd")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_writer_takes_compressed_rows_back(tmp_path):
    with RecordWriter(tmp_path / "r", SCHEMA, shard_bytes=100_000, compression="lz4") as writer:
        for row in rows(600):
            writer.append(row)
        writer.rewind(100)
    plain = stored(tmp_path / "plain", None, count=100)
    same(Records(tmp_path / "r").gather(range(100)), plain.gather(range(100)))

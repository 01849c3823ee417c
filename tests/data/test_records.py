"""Rows come back as they were written, in any order, or not at all."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from dovetail.data.convert import DTYPES
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

IMAGES = Schema(
    [Field("image", (32, 32, 3), "uint8"), Field("label", (1,), "int64"), Field("text", (), str)]
)


def images(place, count=200, shard_bytes=150_000, compression=None):
    """Write images of random bytes into several shards, each of several blocks."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    with RecordWriter(place, IMAGES, shard_bytes=shard_bytes, compression=compression) as writer:
        for number in range(count):
            writer.append((pixels[number], number, f"row {number}"))
    return pixels


@st.composite
def schemas(draw):
    sizes = st.lists(st.one_of(st.none(), st.integers(1, 4)), max_size=3)
    kinds = draw(st.lists(st.tuples(sizes, st.sampled_from(DTYPES)), min_size=1, max_size=4))
    return Schema([Field(f"f{at}", shape, dtype) for at, (shape, dtype) in enumerate(kinds)])


def value_of(draw, field):
    shape = tuple(draw(st.integers(0, 4)) if size is None else size for size in field.shape)
    if field.is_numeric:
        return draw(numpy_strategies.arrays(field.dtype, shape))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    items = text if field.dtype == "string" else st.binary(max_size=5)
    if shape == ():
        return draw(items)
    array = np.empty(shape, object)
    for at in range(array.size):
        array.flat[at] = draw(items)
    return array


def as_it_is(value):
    """A value with its type, shape and bits, so that NaN equals NaN and -0.0 not 0.0."""
    if isinstance(value, str | bytes):
        return type(value), value
    content = value.tolist() if value.dtype == object else value.tobytes()
    return value.dtype, value.shape, content


@given(st.data())
def test_any_schema_and_values_come_back_equal(data):
    schema = data.draw(schemas())
    count = data.draw(st.integers(0, 5))
    written = [{f.name: value_of(data.draw, f) for f in schema.fields} for _ in range(count)]
    wanted = data.draw(st.lists(st.integers(0, count - 1), max_size=8)) if count else []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "records"
        size = data.draw(st.sampled_from([1, 50, 1000]))
        codec = data.draw(st.sampled_from([None, "lz4", "zstd"]))
        with RecordWriter(place, schema, shard_bytes=size, compression=codec) as writer:
            for row in written:
                writer.append(row)
        records = Records(place)
        columns = records.gather(wanted)
        records.verify()
    assert (records.schema, len(records)) == (schema, count)
    for field in schema.fields:
        got = [as_it_is(value) for value in columns[field.name]]
        expected = [
            as_it_is(np.asarray(value) if field.is_numeric else value)
            for value in (written[row][field.name] for row in wanted)
        ]
        assert got == expected


def test_a_batch_has_the_rows_in_the_order_asked_for(tmp_path):
    pixels = images(tmp_path / "r")
    records = Records(tmp_path / "r")
    assert len(records.manifest.shards) > 3
    rows = np.random.default_rng(1).integers(0, 200, 500)
    batch = records.gather(rows)
    np.testing.assert_array_equal(batch["image"], pixels[rows])
    np.testing.assert_array_equal(batch["label"][:, 0], rows)
    assert batch["text"] == [f"row {row}" for row in rows]


def test_what_is_written_to_a_batch_stays_in_it(tmp_path):
    images(tmp_path / "r", count=5)
    records = Records(tmp_path / "r")
    for row in records.rows([0, 1]):
        row["image"][:] = 0
        row["label"] += 7
    again = records.gather([0, 1])
    assert again["image"].any()
    assert again["label"].tolist() == [[0], [1]]
    records.verify()


def test_any_arrow_tool_reads_the_shards(tmp_path):
    pixels = images(tmp_path / "r")
    tables = [
        pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        for path in sorted((tmp_path / "r").glob("*.arrow"))
    ]
    table = pa.concat_tables(tables)
    column = table["image"].combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), pixels)
    assert table["text"].to_pylist() == [f"row {row}" for row in range(200)]


@pytest.mark.parametrize("rows", [[-1], [0, 5], [[0, 1]]])
def test_a_row_that_does_not_exist_is_refused(tmp_path, rows):
    images(tmp_path / "r", count=5)
    with pytest.raises(IndexError, match="from 0 to 4"):
        Records(tmp_path / "r").gather(rows)


def test_no_rows_is_an_empty_batch_of_the_right_shapes(tmp_path):
    images(tmp_path / "r", count=5)
    batch = Records(tmp_path / "r").gather([])
    assert batch["image"].shape == (0, 32, 32, 3)
    assert batch["text"] == []


@given(st.data())
def test_no_flipped_byte_of_a_shard_yields_a_wrong_value(data):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "r"
        pixels = images(place, 60, compression=data.draw(st.sampled_from([None, "lz4"])))
        victim = data.draw(st.sampled_from(sorted(place.glob("*.arrow"))))
        content = bytearray(victim.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        victim.write_bytes(content)
        order = data.draw(st.permutations(range(60)))
        with pytest.raises(DataError, match=rf"{victim.name} is damaged.*prepare"):
            read_row_by_row(place, order, pixels)


def read_row_by_row(place, order, pixels):
    """Whatever comes out before damage is met must be right."""
    records = Records(place)
    for row in order:
        batch = records.gather([row])
        assert (batch["image"][0] == pixels[row]).all()
        assert (batch["label"][0, 0], batch["text"][0]) == (row, f"row {row}")
    records.verify()


def test_damage_is_named_by_shard_field_and_rows_and_spares_other_rows(tmp_path):
    pixels = images(tmp_path / "r", count=200, shard_bytes=1 << 30)
    victim = tmp_path / "r" / "shard-00000.arrow"
    records = Records(tmp_path / "r")
    at = records.manifest.shards[0].buffers["image"][0] + 3072 * 100
    content = bytearray(victim.read_bytes())
    content[at] ^= 1
    victim.write_bytes(content)
    records = Records(tmp_path / "r")
    np.testing.assert_array_equal(records.gather([0])["image"][0], pixels[0])
    with pytest.raises(DataError, match=r"shard-00000.arrow is damaged: its bytes .* of field 'im"):
        records.gather([100])
    with pytest.raises(DataError, match=r"rows \d+ to \d+ of field 'image'"):
        records.gather([100])  # not taken for checked the second time
    with pytest.raises(DataError, match="is damaged:\n  shard-00000.arrow"):
        records.verify()


@given(st.data())
def test_every_truncation_and_growth_of_a_shard_is_seen_at_once(data):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "r"
        images(place, count=10)
        victim = data.draw(st.sampled_from(sorted(place.glob("*.arrow"))))
        content = victim.read_bytes()
        victim.write_bytes(
            (content * 2)[
                : data.draw(
                    st.integers(0, 2 * len(content)).filter(lambda size: size != len(content))
                )
            ]
        )
        with pytest.raises(DataError, match=r"cut short|longer"):
            Records(place)


def test_a_missing_shard_is_named(tmp_path):
    images(tmp_path / "r")
    (tmp_path / "r" / "shard-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"shard-00001.arrow is missing.*prepare"):
        Records(tmp_path / "r")


def test_an_empty_set_opens_and_has_no_rows(tmp_path):
    images(tmp_path / "r", count=0)
    records = Records(tmp_path / "r")
    assert len(records) == 0
    assert records.gather([])["image"].shape == (0, 32, 32, 3)
    with pytest.raises(IndexError):
        records.gather([0])


def test_a_split_divides_the_rows_the_same_way_every_time(tmp_path):
    images(tmp_path / "r")
    records = Records(tmp_path / "r")
    parts = records.split({"train": 0.8, "test": 0.2})
    labels = {name: part.gather(range(len(part)))["label"][:, 0] for name, part in parts.items()}
    assert [len(labels["train"]), len(labels["test"])] == [160, 40]
    assert sorted(np.concatenate(list(labels.values()))) == list(range(200))
    again = Records(tmp_path / "r").split({"train": 0.8, "test": 0.2})
    assert again["test"].fingerprint == parts["test"].fingerprint != records.fingerprint
    other = records.split({"train": 0.8, "test": 0.2}, seed=1)
    assert other["test"].fingerprint != parts["test"].fingerprint


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": -1}, {"a": 0.9, "b": 0.2}])
def test_shares_that_do_not_divide_are_refused(tmp_path, shares):
    images(tmp_path / "r", count=5)
    with pytest.raises(DataError, match="split takes shares"):
        Records(tmp_path / "r").split(shares)


def test_a_view_of_a_view_names_rows_of_the_set(tmp_path):
    images(tmp_path / "r")
    view = Records(tmp_path / "r").select(range(100, 200)).select([5, 0])
    assert view.gather([0, 1])["label"].tolist() == [[105], [100]]
    assert view.where(0) == Records(tmp_path / "r").where(105)
    with pytest.raises(IndexError):
        view.gather([2])


def test_a_view_shares_the_mapping_and_what_is_known_to_be_whole(tmp_path):
    images(tmp_path / "r")
    records = Records(tmp_path / "r")
    view = records.select([3])
    assert view._shards is records._shards
    view.verify()
    assert records._shards.unchecked == 0


def test_records_can_be_sent_to_another_process(tmp_path):
    images(tmp_path / "r", count=9)
    view = Records(tmp_path / "r").select([8, 3])
    twin = pickle.loads(pickle.dumps(view))
    assert twin.gather([0, 1])["label"].tolist() == [[8], [3]]
    assert twin.fingerprint == view.fingerprint


def test_arrays_outlive_the_records_that_gave_them(tmp_path):
    pixels = images(tmp_path / "r", count=9)
    batch = Records(tmp_path / "r").gather(range(9))
    np.testing.assert_array_equal(batch["image"], pixels)


def test_another_schema_is_refused_field_by_field(tmp_path):
    images(tmp_path / "r", count=1)
    records = Records(tmp_path / "r")
    records.require(IMAGES, "model.py")
    other = Schema([Field("image", (28, 28), "uint8"), *IMAGES.fields[1:]])
    with pytest.raises(DataError, match=r"schema of model.py(.|\n)*\[28, 28\] here.*\[32, 32, 3\]"):
        records.require(other, "model.py")

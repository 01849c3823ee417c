"""The reader of idx files."""

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.identity import reader_identity
from dovetail.data.prepare import prepare
from dovetail.data.readers.mnist import Mnist, idx_header, read_idx
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(kind: int, sizes: list[int], data: bytes) -> bytes:
    return struct.pack(">HBB", 0, kind, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes) + data


def save(folder: Path, stem: str = "train", *, pack: bool = False, dots: bool = False) -> Path:
    """Write a pair of files as the data set's page has them; return that of the images."""
    images = idx(8, [5, 4, 3], b"".join(bytes([int(p) for p in i.ravel()]) for i in IMAGES))
    labels = idx(8, [5], bytes([3, 1, 4, 1, 5]))
    paths = []
    for what, data in ((f"images{'-.'[dots]}idx3", images), (f"labels{'-.'[dots]}idx1", labels)):
        path = folder / f"{stem}-{what}-ubyte{'.gz' * pack}"
        path.write_bytes(gzip.compress(data) if pack else data)
        paths.append(path)
    return paths[0]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("dots", [False, True])
@pytest.mark.parametrize("pattern", ["train-*", "train-images*"])
def test_images_and_their_labels_become_rows(
    tmp_path: Path, pack: bool, dots: bool, pattern: str
) -> None:
    save(tmp_path, pack=pack, dots=dots)
    records = prepare(tmp_path / pattern, tmp_path / "out", _schema(), Mnist(), workers=1)
    rows = records.gather(np.arange(len(records)))
    assert np.array_equal(rows["image"], IMAGES)
    assert np.array_equal(rows["label"], LABELS)


def _schema() -> Schema:
    return Schema([Field("image", (4, 3), "uint8"), Field("label", (), "int64")])


def test_the_schema_is_that_of_the_header(tmp_path: Path) -> None:
    reader = Mnist().for_files([save(tmp_path).as_posix()])
    assert reader.schema == _schema()
    assert pickle.loads(pickle.dumps(reader)).schema == reader.schema


def test_each_pair_keeps_to_itself(tmp_path: Path) -> None:
    names = [save(tmp_path, stem).as_posix() for stem in ("t10k", "train")]
    other = tmp_path / "t10k-labels-idx1-ubyte"
    other.write_bytes(idx(8, [5], bytes([9] * 5)))
    reader = Mnist().for_files(names)
    assert [int(row["label"]) for row in reader(names[0])] == [9] * 5
    assert [int(row["label"]) for row in reader(names[1])] == LABELS.tolist()


def test_labels_of_several_columns_are_found_though_their_type_is_named(tmp_path: Path) -> None:
    name = save(tmp_path, "qmnist-train").as_posix()
    (tmp_path / "qmnist-train-labels-idx1-ubyte").unlink()
    columns = [[row * 8 + column for column in range(8)] for row in range(5)]
    data = b"".join(struct.pack(">8i", *row) for row in columns)
    (tmp_path / "qmnist-train-labels-idx2-int").write_bytes(idx(0x0C, [5, 8], data))
    reader = Mnist().for_files([name])
    assert reader.schema is not None
    assert reader.schema["label"].shape == (8,)
    assert [row["label"].tolist() for row in reader(name)] == columns


def test_images_alone_are_read_where_labels_are_not_wanted(tmp_path: Path) -> None:
    name = save(tmp_path).as_posix()
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    reader = Mnist(labels=False).for_files([name])
    assert reader.schema == Schema([Field("image", (4, 3), "uint8")])
    assert [row.keys() for row in reader(name)] == [{"image"}] * 5


@pytest.mark.parametrize(
    ("kind", "code"),
    [(8, "B"), (9, "b"), (0x0B, "h"), (0x0C, "i"), (0x0D, "f"), (0x0E, "d")],
)
def test_every_type_of_the_format_is_read(tmp_path: Path, kind: int, code: str) -> None:
    values = [100, -100, 3, 0, 7, 100] if code != "B" else [200, 1, 2, 3, 4, 5]
    path = tmp_path / "x"
    path.write_bytes(idx(kind, [2, 3], struct.pack(f">6{code}", *values)))
    rows = np.stack(list(read_idx(path.as_posix())))
    assert rows.dtype == np.dtype(code)
    assert rows.ravel().tolist() == values


def test_more_rows_than_are_read_at_a_time_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx(0x0C, [1000], struct.pack(">1000i", *range(1000))))
    assert [int(row) for row in read_idx(path.as_posix())] == list(range(1000))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="train-images-idx3-ubyte"):
            list(read_idx(path.as_posix()))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "not an idx file.*got 89 50 4e 47"),
        (idx(7, [1], b"a"), "not an idx file.*00 00 07 01"),
        (idx(8, [], b""), "not an idx file"),
        (idx(8, [2], b"abc"), "more in the file than the 2 rows"),
        (idx(8, [2, 0], b""), "size of zero"),
        (idx(8, [4_000_000_000, 4_000_000_000], b"abc"), "ends after 3 of"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(DataError, match=match):
        list(read_idx(path.as_posix()))


def test_a_file_without_rows_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx(8, [0, 28, 28], b""))
    assert list(read_idx(path.as_posix())) == []
    assert idx_header(path.as_posix()).shape == (28, 28)


def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    name = save(tmp_path).as_posix()
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(8, [4], bytes(4)))
    with pytest.raises(DataError, match=r"5 images, and '.*labels-idx1-ubyte' 4 labels"):
        list(Mnist().for_files([name])(name))
    labels.unlink()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte', is not beside it"):
        Mnist().for_files([name])


def test_labels_without_images_are_refused(tmp_path: Path) -> None:
    labels = save(tmp_path).as_posix().replace("images-idx3", "labels-idx1")
    with pytest.raises(DataError, match="labels without images"):
        Mnist().for_files([labels])


def test_a_file_beside_its_packed_form_is_not_read_twice(tmp_path: Path) -> None:
    names = [save(tmp_path, pack=pack).as_posix() for pack in (False, True)]
    with pytest.raises(DataError, match="are the same images. Name one"):
        Mnist().for_files(names)
    for name in names:
        assert len(list(Mnist().for_files([name])(name))) == 5


def test_changed_labels_make_another_reader_for_prepare(tmp_path: Path) -> None:
    name = save(tmp_path).as_posix()
    before = reader_identity(Mnist().for_files([name]))
    assert reader_identity(Mnist().for_files([name])) == before
    os.utime(tmp_path / "train-labels-idx1-ubyte", ns=(1, 1))
    assert reader_identity(Mnist().for_files([name])) != before


def test_images_of_two_shapes_are_refused_with_both(tmp_path: Path) -> None:
    names = [save(tmp_path, stem).as_posix() for stem in ("t10k", "train")]
    Path(names[1]).write_bytes(idx(8, [5, 2, 2], bytes(20)))
    with pytest.raises(DataError, match=r"train-.*uint8 \[2, 2\].*t10k-.*uint8 \[4, 3\]"):
        Mnist().for_files(names)

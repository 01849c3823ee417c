"""The readers of CIFAR's binary batches."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.prepare import prepare
from dovetail.data.readers.cifar import Cifar10, Cifar100
from dovetail.errors import DataError


def row(labels: list[int], seed: int) -> tuple[bytes, list[list[tuple[int, int, int]]]]:
    """Write one row as the page describes it: labels, 1024 reds, greens, blues, line by line."""
    numbers = np.random.default_rng(seed).integers(0, 256, 3072).tolist()
    planes = [numbers[:1024], numbers[1024:2048], numbers[2048:]]
    pixels = [[tuple(plane[32 * y + x] for plane in planes) for x in range(32)] for y in range(32)]
    return bytes(labels) + bytes(numbers), pixels  # type: ignore[return-value]


def save(path: Path, labels: list[list[int]], *, pack: bool = False) -> list[object]:
    rows = [row(one, seed) for seed, one in enumerate(labels)]
    data = b"".join(data for data, _ in rows)
    path.write_bytes(gzip.compress(data) if pack else data)
    return [pixels for _, pixels in rows]


@pytest.mark.parametrize("pack", [False, True])
def test_cifar10_becomes_channels_last_with_labels(tmp_path: Path, pack: bool) -> None:
    path = tmp_path / "data_batch_1.bin"
    pixels = save(path, [[number % 10] for number in range(300)], pack=pack)
    reader = Cifar10()
    records = prepare(path, tmp_path / "out", reader.schema, reader, workers=1)
    rows = records.gather(np.arange(300))
    assert rows["image"].dtype == np.uint8
    assert np.array_equal(rows["image"], np.array(pixels))
    assert rows["label"].tolist() == [number % 10 for number in range(300)]
    assert records.metadata == {}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("both", {"label": [99, 0], "coarse_label": [3, 19]}),
        ("fine", {"label": [99, 0]}),
        ("coarse", {"label": [3, 19]}),
    ],
)
def test_cifar100_gives_the_labels_asked_for(tmp_path: Path, labels, expected) -> None:
    path = tmp_path / "train.bin"
    pixels = save(path, [[3, 99], [19, 0]])
    reader = Cifar100(labels)
    rows = [reader.schema.convert(one, "x") for one in reader(path.as_posix())]
    assert np.array_equal([one["image"] for one in rows], np.array(pixels))
    assert {name: [one[name] for one in rows] for name in rows[0] if name != "image"} == expected


def test_the_names_of_classes_are_kept_where_they_lie_beside(tmp_path: Path) -> None:
    name = (tmp_path / "data_batch_1.bin").as_posix()
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]
    (tmp_path / "batches.meta.txt").write_text("\n".join([*names, "truck"]) + "\n\n")
    assert Cifar10().for_files([name]).metadata == {"classes": [*names, "truck"]}
    (tmp_path / "batches.meta.txt").write_text("\n".join(names))
    assert Cifar10().for_files([name]).metadata == {}
    fine, coarse = ([f"{kind}{i}" for i in range(n)] for kind, n in (("f", 100), ("c", 20)))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(fine))
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(coarse))
    both = Cifar100().for_files([name]).metadata
    assert both == {"classes": fine, "coarse_classes": coarse}
    assert Cifar100("coarse").for_files([name]).metadata == {"classes": coarse}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3072, 3074, 3073 * 299, 3073 * 300 - 1])
def test_a_file_cut_within_a_row_is_refused(tmp_path: Path, length: int, pack: bool) -> None:
    path = tmp_path / "a.bin"
    data = (b"\1" + bytes(3072)) * 300
    path.write_bytes(gzip.compress(data[:length]) if pack else data[:length])
    if length % 3073:
        with pytest.raises(DataError, match=rf"a\.bin: its {length} bytes are not a whole number"):
            list(Cifar10()(path.as_posix()))
    else:
        assert len(list(Cifar10()(path.as_posix()))) == length // 3073


def test_the_other_data_set_is_told_by_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    save(path, [[1, 1]] * 2)
    with pytest.raises(DataError, match="That is 2 rows of CIFAR-100"):
        list(Cifar10()(path.as_posix()))
    save(path, [[1]] * 300)
    with pytest.raises(DataError, match="That is 300 rows of CIFAR-10:"):
        list(Cifar100()(path.as_posix()))


def test_a_label_out_of_range_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    save(path, [[1]] * 260 + [[10]])
    with pytest.raises(DataError, match=r"a\.bin, row 260: the label 10 is none of the 10"):
        list(Cifar10()(path.as_posix()))
    save(path, [[19, 100]])
    with pytest.raises(DataError, match=r"row 0: the label 100 is none of the 100"):
        list(Cifar100()(path.as_posix()))


def test_a_pickle_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(b"\x80\x02}q\x01(U\x0bbatch_labelq\x02" + bytes(4000))
    with pytest.raises(DataError, match=r"pickle.*binary version"):
        list(Cifar10()(path.as_posix()))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        list(Cifar10()(path.as_posix()))


def test_a_word_that_is_no_kind_of_label_is_refused() -> None:
    with pytest.raises(DataError, match="'fine', 'coarse' or 'both'"):
        Cifar100("rough")  # type: ignore[arg-type]

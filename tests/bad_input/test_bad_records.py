"""Records that do not fit, are damaged, or hold what no model can use: said, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.data.prepare import prepare
from dovetail.errors import DataError, DovetailError
from dovetail.run.estimator import Estimator


def shard_of(records: Path) -> Path:
    (shard,) = [p for p in records.iterdir() if p.suffix not in (".json", "")]
    return shard


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((("x", (4,), "float32"), ("label", (1,), "int64")), r"'x'.*\[?\(?4.*|x.*5.*4"),
        ((("x", (5,), "float64"), ("label", (1,), "int64")), "float64"),
        ((("y", (5,), "float32"), ("label", (1,), "int64")), "'x' is not in the records"),
        ((("x", (5,), "float32"),), "'label' is not in the records"),
    ],
)
def test_records_of_another_schema_are_refused_before_a_step(
    fields: tuple,
    said: str,
    write_records: Callable[..., Path],
    estimator: Callable[..., Estimator],
):
    records = write_records(fields=fields)
    made = estimator()
    with pytest.raises(DovetailError, match="does not match the data_schema of model") as caught:
        made.train(records)
    message = str(caught.value)
    assert str(records) in message
    assert "prepare the records again" in message
    import re

    assert re.search(said, message)
    assert made.latest_checkpoint() is None


def test_every_difference_of_a_schema_is_listed_at_once(
    write_records: Callable[..., Path], estimator: Callable[..., Estimator]
):
    records = write_records(fields=(("x", (4,), "float32"),))
    with pytest.raises(
        DovetailError, match=r"data_schema has .*x.*; 'label' is not in the records"
    ):
        estimator().train(records)


def test_a_flipped_byte_met_in_training_stops_it_and_the_run_goes_on_once_it_is_mended(
    write_records: Callable[..., Path], estimator: Callable[..., Estimator]
):
    records = write_records(rows=4000)
    shard = shard_of(records)
    good = shard.read_bytes()
    whole = estimator(name="whole").train(records, max_steps=20)

    again = estimator(name="again").train(records, max_steps=3)
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 16
    shard.write_bytes(bad)
    with pytest.raises(DataError, match=rf"{shard.name} is damaged.*rows \d+ to \d+ of field"):
        estimator(name="again").train(records, max_steps=20)
    at = again.get_variable_value("global_step")
    assert 3 <= at < 20
    shard.write_bytes(good)
    again = estimator(name="again").train(records, max_steps=20)
    for name in whole.get_variable_names():
        assert (whole.get_variable_value(name) == again.get_variable_value(name)).all(), name


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_shard_cut_short_is_refused_when_it_is_opened(
    missing: int, write_records: Callable[..., Path], estimator: Callable[..., Estimator]
):
    records = write_records()
    shard = shard_of(records)
    shard.write_bytes(shard.read_bytes()[:-missing])
    with pytest.raises(DataError, match=rf"{shard.name}.*(bytes|short)"):
        estimator().train(records)


@pytest.mark.parametrize("wrong", [3, -1, 1000])
def test_a_label_out_of_range_is_said_with_its_batch(
    wrong: int,
    write_records: Callable[..., Path],
    estimator: Callable[..., Estimator],
    tmp_path: Path,
):
    records = write_records(rows=32, labels=lambda i: wrong if i == 17 else i % 3)
    made = estimator().train(write_records("good", rows=32), max_steps=2)
    calls = {
        "training step": lambda: made.train(records, max_steps=9),
        "evaluation": lambda: made.evaluate(records),
        "building the model": lambda: estimator(name="new", params={"batch_size": 32}).train(
            records
        ),
    }
    for when, call in calls.items():
        with pytest.raises(DataError) as caught:
            call()
        said = str(caught.value)
        assert f"Target {wrong} is out of bounds in {when}" in said
        assert f"of {records}" in said
        assert f"labels from {min(wrong, 0)} to {max(wrong, 2)}" in said
        assert "from 0 to n - 1" in said
    reached = made.get_variable_value("global_step")
    assert 2 <= reached < 9
    assert made.train_run(tmp_path / "good", steps=1).step == reached + 1


def test_an_empty_set_of_records_is_said(
    write_records: Callable[..., Path], estimator: Callable[..., Estimator]
):
    records = write_records(rows=0)
    with pytest.raises(DataError, match="holds no records, so there is nothing to train on"):
        estimator().train(records)
    estimator().train(write_records("good"), max_steps=1)
    with pytest.raises(DataError, match="holds no records, so there is nothing to evaluate"):
        estimator().evaluate(records)
    with pytest.raises(DataError, match="holds no records, so there is nothing to predict"):
        next(estimator().predict(records))


def test_what_an_interrupted_prepare_left_is_not_taken_for_records(
    tmp_path: Path, estimator: Callable[..., Estimator]
):
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text("1 2 3 4 5")

    def read(filename: str):
        if filename.endswith("/9.txt"):
            raise KeyboardInterrupt
        return [1.0, 2, 3, 4, 5], 1

    output = tmp_path / "records"
    schema = [
        {"name": "x", "shape": [5], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
    with pytest.raises(KeyboardInterrupt):
        prepare(f"{tmp_path}/*.txt", output, schema, read, workers=1)
    with pytest.raises(DataError, match=str(output)):
        estimator().train(output)
    prepare(f"{tmp_path}/*.txt", output, schema, lambda filename: ([1.0] * 5, 1), workers=1)
    estimator().train(output)


def test_half_a_set_of_records_is_not_taken_for_one(
    write_records: Callable[..., Path], estimator: Callable[..., Estimator]
):
    records = write_records()
    (records / "manifest.json").unlink()
    with pytest.raises(DataError, match=str(records)):
        estimator().train(records)


def test_an_input_fn_that_fails_is_named_with_its_line_and_rows(
    write_records: Callable[..., Path], model_file: Path, estimator: Callable[..., Estimator]
):
    model_file.write_text(
        model_file.read_text().replace('return records["x"],', 'return records["x"] / None,')
    )
    made = estimator()
    with pytest.raises(DataError, match=r"input_fn failed with TypeError.*model.py, line \d+.*row"):
        made.train(write_records())


def test_a_field_that_is_not_there_is_said_with_the_nearest(
    write_records: Callable[..., Path], model_file: Path, estimator: Callable[..., Estimator]
):
    model_file.write_text(model_file.read_text().replace('records["label"]', 'records["lable"]'))
    with pytest.raises(DataError, match="no field 'lable'.*Did you mean 'label'"):
        estimator().train(write_records())

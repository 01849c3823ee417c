from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dovetail.data.records import Records


def test_a_model_file_shows_its_parts_params_schema_and_layers(run: Any, shop: Path) -> None:
    ran = run("inspect", "digits.py")
    assert ran.code == 0
    line = (shop / "digits.py").read_text().splitlines().index("def loss(output, labels):") + 1
    rows = [row.split() for row in ran.out.splitlines()]
    assert ["loss", str(line)] in rows
    assert ["optimizer.lr", "0.1"] in rows
    assert ["image", "uint8", "[4,", "4]"] in rows
    assert "weight [3, 16], bias [3]" in ran.out
    assert "51 parameters" in ran.out


def test_a_model_file_s_json_says_the_same(run: Any, shop: Path) -> None:
    found = json.loads(run("inspect", "digits.py", "--json").out)
    assert (found["kind"], found["way"], found["parameters"]) == ("definition", "model file", 51)
    assert found["schema"][0] == {"name": "image", "shape": [4, 4], "dtype": "uint8"}
    assert found["params"] == {"optimizer": {"lr": 0.1}}


def test_layers_that_cannot_be_made_do_not_hide_the_rest(run: Any, shop: Path) -> None:
    text = (shop / "digits.py").read_text()
    (shop / "digits.py").write_text(text.replace("nn.Linear(16, 3)", "nn.Linear(15, 3)"))
    ran = run("inspect", "digits.py")
    assert ran.code == 0
    assert "eval_metrics_fn" in ran.out
    assert "could not be made: mat1 and mat2" in ran.out


def test_records_show_their_schema_shards_and_first_rows(run: Any, shop: Path) -> None:
    ran = run("inspect", "demo/records/test")
    assert ran.code == 0
    assert "9 records" in ran.out
    assert "uint8 [4, 4] from 80 to 80  [1]" in ran.out
    found = json.loads(run("inspect", "demo/records/test", "--json").out)
    records = Records("demo/records/test")
    assert (found["kind"], found["rows"]) == ("records", 9)
    assert found["fingerprint"] == records.fingerprint
    assert [row["label"] for row in found["first_rows"]] == [[0], [0], [0], [1], [1]]
    assert sum(shard["rows"] for shard in found["shards"]) == 9


def test_a_checkpoint_shows_its_step_and_tensors(run: Any, shop: Path) -> None:
    place = "demo/model/checkpoints/0000000004"
    ran = run("inspect", place)
    assert ran.code == 0
    assert "checkpoint of step 4, whole and undamaged" in ran.out
    assert "51 values in 2 tensors" in ran.out
    found = json.loads(run("inspect", f"{place}/state.json", "--json").out)
    assert (found["kind"], found["path"], found["step"]) == ("checkpoint", place, 4)
    assert sorted(tensor["shape"] for tensor in found["tensors"]) == [[3], [3, 16]]
    assert found["state"]["position"] == 32


def test_a_damaged_checkpoint_is_a_mistake_that_names_the_file(run: Any, shop: Path) -> None:
    file = shop / "demo/model/checkpoints/0000000004/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    ran = run("inspect", file.parent)
    assert ran.code == 1
    assert "model.safetensors" in ran.err


def test_a_model_dir_shows_checkpoints_the_last_run_and_the_last_values(
    run: Any, shop: Path
) -> None:
    words = ("--data", "demo/records/train", "--model-dir", "demo/model", "--seed", 0)
    assert run("train", "digits.py", *words, "--max-steps", 6, "--save-summary-steps", 3).code == 0
    assert run("evaluate", "digits.py", *words, "--name", "x").code == 0
    ran = run("inspect", "demo/model")
    assert ran.code == 0
    assert "demo/model: at step 6, 2 runs" in ran.out
    assert "eval_x" in ran.out
    found = json.loads(run("inspect", "demo/model", "--json").out)
    assert (found["kind"], found["latest_step"], found["runs"]) == ("model_dir", 6, 2)
    assert [one["step"] for one in found["checkpoints"]] == [0, 4, 6]
    assert found["last_run"]["number"] == 2
    assert found["scalars"]["train"]["loss"]["step"] == 6
    assert found["scalars"]["eval_x"]["accuracy"]["step"] == 6


@pytest.mark.parametrize(
    ("what", "said"),
    [("digit.py", "Did you mean 'digits.py'?"), ("demo", "none of what Dovetail writes")],
)
def test_what_is_nothing_that_dovetail_knows_is_a_mistake(
    run: Any, shop: Path, what: str, said: str
) -> None:
    ran = run("inspect", what)
    assert ran.code == 1
    assert said in ran.err

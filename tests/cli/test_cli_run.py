"""`dovetail run`: the modes, the flags, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dovetail.run import checkpoint, provenance


def edited(path: Path, old: str, new: str) -> int:
    """Replace a line's text in a file, and return the number of that line, from 1."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1 + (len(old) - len(old.lstrip("\n")))


@pytest.fixture
def go(run: Any, params_file: Path) -> Any:
    """Runs `dovetail run` on my_model's params file."""

    def go(*words: object) -> Any:
        return run("run", "--params", params_file, *words)

    return go


def steps_of(model_dir: str = "run") -> list[int]:
    return [int(path.name) for path in checkpoint.listed(model_dir)]


def test_train_ends_where_the_input_ends_and_goes_on_from_the_files_model_dir(go: Any) -> None:
    ran = go("--mode", "train")
    assert (ran.code, ran.err.count("error")) == (0, 0)
    assert steps_of() == [0, 4, 8]
    assert "params.model.scale" not in ran.out  # a class's default, shown with --verbose


def test_trained_parameters_are_those_of_a_loop_written_by_hand(go: Any) -> None:
    assert go("--max_steps", 1).code == 0
    first = checkpoint.load(Path("run/checkpoints/0000000000")).model
    assert go("--steps", 5).code == 0
    after = checkpoint.load(Path("run/checkpoints/0000000006")).model
    linear = torch.nn.Linear(3, 3)
    linear.load_state_dict({name.partition(".")[2]: value for name, value in first.items()})
    sgd = torch.optim.SGD(linear.parameters(), lr=0.5, momentum=0.9)
    x, labels = torch.eye(3).repeat(2, 1), torch.arange(6) % 3
    for rate in (0.5, 0.5, *(0.5 - 0.4 * step / 6 for step in range(4))):
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(linear(x), labels).backward()
        sgd.step()
    for name, value in after.items():
        torch.testing.assert_close(value, linear.state_dict()[name.partition(".")[2]])


def test_steps_is_how_many_more_and_max_steps_the_step_to_end_at(go: Any) -> None:
    assert go("--max_steps", 3).code == 0
    assert steps_of()[-1] == 3
    assert go("--steps=2").code == 0
    assert steps_of()[-1] == 5
    ran = go("--max-steps", 5)
    assert ran.code == 0
    assert "nothing left to train" in ran.out


def test_train_and_eval_evaluates_each_checkpoint_and_eval_all_does_again(go: Any) -> None:
    ran = go("--mode", "train_and_eval", "--eval_steps", 1)
    assert ran.code == 0
    assert "Evaluation at step 8: accuracy" in ran.out
    ran = go("--mode", "eval_all")
    assert ran.code == 0
    found = [line.split(":")[0] for line in ran.out.splitlines()]
    assert found == ["Evaluation at step 0", "Evaluation at step 4", "Evaluation at step 8"]


def test_eval_takes_the_newest_checkpoint_or_the_one_that_is_named(go: Any) -> None:
    go()
    assert "global_step  8" in go("--mode", "eval").out
    assert "global_step  4" in go("--mode=eval", "--checkpoint_path=run/checkpoints/0000000004").out


def test_eval_all_leaves_a_damaged_checkpoint_out_with_a_note(go: Any) -> None:
    go()
    weights = Path("run/checkpoints/0000000004/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-3])
    ran = go("--mode", "eval_all")
    assert ran.code == 0
    assert "at step 4" not in ran.out
    assert "at step 8" in ran.out
    assert "0000000004 is left out" in ran.err


def test_predict_writes_to_the_model_dir_by_step(go: Any) -> None:
    go()
    ran = go("--mode", "predict")
    assert ran.code == 0
    lines = Path("run/predict/0000000008.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"class": k} for k in (0, 1, 2, 0)] * 2
    go("--mode", "predict", "--checkpoint_path", "run/checkpoints/0000000000")
    assert Path("run/predict/0000000000.jsonl").is_file()


@pytest.mark.parametrize("mode", ["train", "train_and_eval", "eval", "eval_all", "predict"])
def test_validate_only_shows_shapes_and_writes_nothing(go: Any, mode: str) -> None:
    ran = go("--mode", mode, "--validate_only")
    assert ran.code == 0
    assert "features.x: [" in ran.out
    assert "12 parameters" in ran.out
    assert [path.name for path in Path().iterdir()] == ["my_model"]


def test_compile_only_compiles_and_writes_nothing(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []
    real = torch.compile

    def eager(network: Any, **options: Any) -> Any:
        compiled.append(True)
        return real(network, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", eager)
    ran = go("--mode", "train_and_eval", "--compile_only")
    assert ran.code == 0
    assert compiled == [True]
    assert "EVAL: compiled" in ran.out
    assert [path.name for path in Path().iterdir()] == ["my_model"]
    ran = go("--compile_only", "--execution", "eager")
    assert ran.code == 1
    assert "'eager' (command line --execution)" in ran.err


def test_a_batch_that_does_not_fit_is_refused_before_the_run(go: Any) -> None:
    ran = go("--validate_only", "--set", "model.classes=2")
    assert ran.code == 1
    assert "out of" in ran.err
    assert not Path("run").exists()


def test_a_flag_that_is_not_given_never_overrides_the_file(go: Any, params_file: Path) -> None:
    edited(params_file, "  model_dir: run\n", "  model_dir: run\n  max_steps: 2\n  seed: 7\n")
    ran = go()
    assert steps_of()[-1] == 2
    values = provenance.read("run")[0]["extra"]["values"]
    assert (values["runconfig.seed"], values["runconfig.save_checkpoints_steps"]) == (7, 4)
    ran = go("--max_steps", 3, "--seed", 7, "--model_dir", "other")
    assert ran.code == 0
    assert steps_of("other")[-1] == 3


def test_the_resolved_file_is_saved_per_run_and_never_overwritten(go: Any) -> None:
    go("--max_steps", 1)
    saved = Path("run/provenance/0001/params.yaml")
    first = saved.read_text()
    assert yaml.safe_load(first)["model"] == {"classes": 3, "scale": 1.0}
    go("--max_steps", 2, "--set", "model.scale=2")
    assert saved.read_text() == first
    second = yaml.safe_load(Path("run/provenance/0002/params.yaml").read_text())
    assert second["model"]["scale"] == 2.0
    files = {path.name for path in Path("run/provenance/0001/files").rglob("*.py")}
    assert {"model.py", "data.py"} <= files


def test_accumulation_and_precision_reach_the_run_and_flags_win(go: Any, params_file: Path) -> None:
    edited(
        params_file,
        "  optimizer_type: momentum\n",
        "  optimizer_type: momentum\n  gradient_accumulation_steps: 3\n  precision: bf16\n",
    )
    assert go("--max_steps", 1, "--precision", "fp32").code == 0
    values = provenance.read("run")[0]["extra"]["values"]
    assert (values["runconfig.parts"], values["runconfig.precision"]) == (3, "fp32")


MISTAKES = {
    "section": ("model:\n", "modle:\n", "'modle'.* Did you mean 'model'?"),
    "model key": ("  classes: 3", "  clases: 3", "no 'clases'. Did you mean 'classes'?"),
    "model type": ("  classes: 3", "  classes: '3'", "should be a valid integer, but '3' (str)"),
    "optimizer key": ("  max_gradient_norm", "  max_gradient_nrom", "'max_gradient_norm'?"),
    "optimizer type": (": momentum", ": momentun", "Did you mean 'momentum'?"),
    "schedule key": ("      decay_steps: 6", "      decay_step: 6", "Did you mean 'decay_steps'?"),
    "schedule name": ("scheduler: Linear", "scheduler: Linaer", "Did you mean 'linear'?"),
    "run key": ("  save_checkpoints_steps", "  save_checkpoint_steps", "'save_checkpoints_steps'?"),
    "run type": ("  progress: false", "  progress: no way", "progress must be of type bool"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_shown_with_its_line_and_the_nearest(
    go: Any, params_file: Path, kind: str
) -> None:
    old, new, says = MISTAKES[kind]
    line = edited(params_file, old, new)
    ran = go()
    assert ran.code == 1
    assert all(part in ran.err for part in says.split(".*"))
    # Of a section that has a wrong value deep inside, the section's own line is near enough.
    near = f"{params_file}:" if kind in ("optimizer type", "schedule name") else None
    assert (near or f"{params_file}:{line}:") in ran.err
    assert not Path("run").exists()


def test_a_mistake_of_the_command_line_names_the_command_line(go: Any) -> None:
    ran = go("--set", "model.clases=4")
    assert ran.code == 1
    assert "command line --set: ModelParams has no 'clases'" in ran.err


def test_an_error_in_data_py_names_its_line(go: Any, params_file: Path) -> None:
    data = params_file.parents[1] / "data.py"
    line = edited(data, "    return batches(params.train_input)", "    return 1 / 0")
    ran = go()
    assert ran.code == 1
    assert f"{data}:{line}, in train_input_fn" in ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", 1, "--max_steps", 2], "give --steps"),
        (["--mode", "eval", "--steps", 1], "about training"),
        (["--mode", "predict", "--eval_steps", 1], "about evaluation"),
        (["--mode", "train", "--checkpoint_path", "x"], "--warm-start-from"),
        (["--mode", "evl"], "Did you mean 'eval'?"),
        (["--validate_only", "--compile_only"], "not both"),
    ],
)
def test_flags_that_mean_nothing_together_are_wrong_usage(
    go: Any, words: list[object], says: str
) -> None:
    ran = go(*words)
    assert ran.code == 2
    shown = " ".join(ran.err.replace("\u2502", " ").split())
    assert says in shown


def test_model_and_data_may_lie_elsewhere_and_be_named(
    run: Any, params_file: Path, tmp_path: Path
) -> None:
    folder = params_file.parents[1]
    (folder / "model.py").rename("net.py")
    ran = run("run", "--params", params_file, "--validate-only")
    assert ran.code == 1
    assert "or name it with --model FILE" in ran.err
    ran = run("run", "--params", params_file, "--validate-only", "--model", "net.py")
    assert ran.code == 0

"""A params file, a model.py and a data.py as one definition and its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dovetail.definition.modes import ModeKeys
from dovetail.errors import DefinitionError, DovetailError, ParamsError
from dovetail.run.estimator import Estimator
from dovetail.run.params_folder import Places, find, read

MODEL = """
import torch
from dovetail import EstimatorSpec, layers, optimizers


def model_fn(features, labels, mode, params):
    output = layers.fully_connected(features, params["model"].get("width", 1), activation_fn=None)
    if labels is None:
        return EstimatorSpec(mode, output)
    loss = ((output - labels) ** 2).mean()
    return EstimatorSpec(
        mode, output, loss, optimizers.from_params(params["optimizer"]).minimize(loss)
    )
"""
DATA = """
import torch


def input_fn(params, mode):
    section = params[f"{'train' if mode == 'train' else 'eval'}_input"]
    return [(torch.full((section.rows, 2), 0.5), torch.ones(section.rows, 1))]
"""
PARAMS = """\
train_input: {rows: 4}
eval_input: {rows: 3}
model:
optimizer: {optimizer_type: sgd, learning_rate: 0.1}
runconfig: {progress: false, eval_steps: 2}
"""


def written(
    folder: Path, params: str = PARAMS, model: str = MODEL, data: str = DATA, at: str = "configs"
) -> Path:
    (folder / at).mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(model)
    (folder / "data.py").write_text(data)
    (folder / at / "params.yaml").write_text(params)
    return folder / at / "params.yaml"


def test_files_are_found_above_the_params_files_folder_or_beside_it(tmp_path: Path):
    params = written(tmp_path)
    assert find(params) == Places(params, tmp_path / "model.py", tmp_path / "data.py")
    beside = written(tmp_path / "flat", at=".")
    (tmp_path / "model.py").unlink()
    (tmp_path / "data.py").unlink()
    assert find(beside).model == tmp_path / "flat" / "model.py"
    assert find(params, beside.parent / "model.py", beside.parent / "data.py").data == (
        beside.parent / "data.py"
    )
    with pytest.raises(DovetailError, match=r"no .*model\.py or .*--model FILE"):
        find(params)
    with pytest.raises(ParamsError, match="no params file"):
        find(tmp_path / "configs" / "parms.yaml")


def test_a_params_file_of_this_folder_finds_what_is_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(written(tmp_path).parent)
    assert find("params.yaml").model.samefile(tmp_path / "model.py")


def test_all_of_the_file_reaches_model_fn_and_the_inputs(tmp_path: Path):
    folder = read(find(written(tmp_path, PARAMS.replace("model:", "model: {width: 3}"))))
    params = folder.resolved.definition.params
    assert params.model.width == 3
    assert params.runconfig.eval_steps == folder.eval_steps == 2
    config = folder.resolved.config.replace(model_dir=str(tmp_path / "run"))
    estimator = Estimator(folder.resolved.definition, config=config)
    estimator.train(folder.input_fn(ModeKeys.TRAIN), max_steps=1)
    rows = list(estimator.predict(folder.input_fn(ModeKeys.PREDICT)))
    assert [row["output"].shape for row in rows] == [(3,)] * 3


def test_the_record_holds_the_data_file_beside_the_model(tmp_path: Path):
    folder = read(find(written(tmp_path)))
    assert {path.name for path in folder.resolved.definition.files} == {"model.py", "data.py"}


def test_the_command_line_wins_over_the_file_and_its_optimizer_section(tmp_path: Path):
    text = PARAMS.replace("sgd,", "sgd, gradient_accumulation_steps: 4, precision: bf16,")
    places = find(written(tmp_path, text))
    resolved = read(places, flags={"parts": 2}, settings=["optimizer.learning_rate=0.5"]).resolved
    assert (resolved.config.parts, resolved.config.precision) == (2, "bf16")
    assert resolved.origins["runconfig.parts"] == "command line --parts"
    assert resolved.origins["runconfig.precision"].startswith("params file")
    assert resolved.definition.params.optimizer.learning_rate == 0.5


def test_parts_said_twice_must_be_the_same(tmp_path: Path):
    text = PARAMS.replace("sgd,", "sgd, gradient_accumulation_steps: 4,")
    both = text.replace("{progress: false,", "{progress: false, parts: 4,")
    assert read(find(written(tmp_path, both))).resolved.config.parts == 4
    with pytest.raises(ParamsError, match="two names of one setting"):
        read(find(written(tmp_path, both.replace("parts: 4", "parts: 2"))))


def test_a_params_file_without_sections_is_a_definition_that_needs_none(tmp_path: Path):
    model = "from dovetail import EstimatorSpec\n\ndef model_fn(features, labels, mode): ...\n"
    folder = read(find(written(tmp_path, "", model)))
    assert folder.eval_steps is None
    assert folder.resolved.config.given == frozenset()


def test_several_mistakes_are_named_at_once_each_with_its_line(tmp_path: Path):
    text = PARAMS.replace("train_input", "train_inputs").replace("progress: false", "sed: 3")
    params = written(tmp_path, text)
    with pytest.raises(ParamsError) as caught:
        read(find(params))
    said = str(caught.value)
    assert f"{params}:1: there is no section 'train_inputs'. Did you mean 'train_input'?" in said
    assert f"{params}:5: 'runconfig.sed' is not a setting of a run. Did you mean 'seed'?" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model:", "model: 3", ":3: 'model' must hold names with values; it is 3"),
        ("eval_steps: 2", "eval_steps: 0", ":5: 'runconfig.eval_steps' must be a whole number"),
        ("sgd,", "sgd, precision: fp8,", "'optimizer.precision': .*'fp8'"),
        ("sgd,", "sgd, loss_scale: 8,", "`precision: fp16` only"),
        ("{rows: 4}", "{rows: 4, rows: 5}", "'rows' is given twice"),
    ],
)
def test_a_mistake_in_the_file_is_refused(tmp_path: Path, old: str, new: str, says: str):
    with pytest.raises(ParamsError, match=says):
        read(find(written(tmp_path, PARAMS.replace(old, new))))


def test_an_optimizer_section_of_the_models_own_is_typed_by_it(tmp_path: Path):
    own = "from dataclasses import dataclass\n\n@dataclass\nclass OptimizerParams:\n    rate: float"
    text = PARAMS.replace("{optimizer_type: sgd, learning_rate: 0.1}", "{rate: 1}")
    folder = read(find(written(tmp_path, text, MODEL + "\n\n" + own + "\n")))
    assert folder.resolved.definition.params.optimizer.to_dict() == {"rate": 1.0}


def test_an_input_may_be_typed_in_data_py(tmp_path: Path):
    typed = "import pydantic\n\nclass InputParams(pydantic.BaseModel):\n    rows: int = 7\n"
    text = PARAMS.replace("eval_input: {rows: 3}\n", "")
    folder = read(find(written(tmp_path, text, data=DATA + "\n\n" + typed)))
    params = folder.resolved.definition.params
    assert (params.train_input.rows, params.eval_input.rows) == (4, 7)
    assert folder.resolved.origins["params.eval_input.rows"] == "definition"


def test_a_missing_input_fn_is_named_with_the_nearest(tmp_path: Path):
    data = DATA.replace("def input_fn(params, mode)", "def train_inputs_fn(params)")
    folder = read(find(written(tmp_path, data=data)))
    with pytest.raises(DefinitionError, match="Did you mean 'train_inputs_fn'"):
        folder.input_fn(ModeKeys.TRAIN)


def test_a_model_file_is_sent_to_dovetail_train(tmp_path: Path):
    model = """
import torch
from dovetail import optimizers

model = torch.nn.Linear(2, 1)

def loss(output, labels):
    return output.mean()

def optimizer():
    return optimizers.SGD(0.1)
"""
    with pytest.raises(DefinitionError, match="dovetail train"):
        read(find(written(tmp_path, model=model)))


def test_loading_leaves_the_generators_of_the_caller_alone(tmp_path: Path):
    places = find(written(tmp_path))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    read(places)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_setting_of_a_misspelt_section_is_refused_with_the_nearest(tmp_path: Path):
    params = written(tmp_path, PARAMS)
    with pytest.raises(ParamsError, match=r"--set: there is no section 'optimzer'. Did you mean"):
        read(find(params), settings=["optimzer.learning_rate=3"])


def test_a_setting_that_the_file_lacks_is_refused_if_it_is_like_one_else_noted(tmp_path: Path):
    params = written(tmp_path, PARAMS.replace("model:", "model: {hidden: 3, net: {depth: 1}}"))
    with pytest.raises(ParamsError, match=r"no 'model\.hiden'\. Did you mean 'hidden'\? If it"):
        read(find(params), settings=["model.hiden=4"])
    with pytest.raises(ParamsError, match=r"no 'model\.net\.dept'\. Did you mean 'depth'"):
        read(find(params), settings=["model.net.dept=4"])
    with pytest.warns(UserWarning, match=r"--set: the params file has no 'model\.width': it is ne"):
        folder = read(find(params), settings=["model.width=4", "model.hidden=5"])
    assert folder.resolved.definition.params.model.to_dict() == {
        **{"hidden": 5, "net": {"depth": 1}},
        "width": 4,
    }


def test_a_setting_of_a_typed_section_needs_not_be_in_the_file(tmp_path: Path):
    own = "from dataclasses import dataclass\n\n@dataclass\nclass ModelParams:\n    width: int = 1"
    text = PARAMS.replace("model:", "model: {}")
    params = written(tmp_path, text, MODEL + "\n\n" + own + "\n")
    folder = read(find(params), settings=["model.width=2"])
    assert folder.resolved.definition.params.model.width == 2


def test_a_misspelt_setting_of_a_run_is_refused_with_the_nearest(tmp_path: Path):
    with pytest.raises(ParamsError, match=r"--set: 'runconfig\.max_step' is not .*'max_steps'\?"):
        read(find(written(tmp_path)), settings=["runconfig.max_step=3"])

"""The params-file page: its model_fn, its spec and its flow, beside a loop written by hand."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional as F

import dovetail
from dovetail import layers, metrics
from dovetail.cli.main import main
from dovetail.definition.source import execute
from dovetail.errors import DefinitionError
from dovetail.run import checkpoint

FOLDER = Path(__file__).with_name("params_file_page")
PARAMS = FOLDER / "configs" / "params.yaml"
AS_TENSORS = ["--set", "train_input.as_dict=false", "--set", "eval_input.as_dict=false"]


def run(model_dir: Path, *words: object) -> int:
    given = ["run", "--params", PARAMS, "--model_dir", model_dir, *words]
    return main([str(word) for word in given])


def by_hand(parameters: dict[str, torch.Tensor], steps: int) -> dict[str, torch.Tensor]:
    """Train the page's net in plain torch, on whole batches, and return its parameters."""
    own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    optimizer = torch.optim.SGD(own.values(), lr=0.5, momentum=0.9)
    data = execute(FOLDER / "data.py")
    section = {"batch_size": 8, "batches": 12, "seed": 1, "as_dict": False}
    for step, (x, labels) in enumerate(data.examples(section)[:steps]):
        optimizer.param_groups[0]["lr"] = 0.5 * 0.5 ** (step / 4)
        optimizer.zero_grad()
        F.cross_entropy(logits_by_hand(own, x), labels).backward()
        torch.nn.utils.clip_grad_norm_(own.values(), 0.3)
        optimizer.step()
    return own


def logits_by_hand(own: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(F.linear(x, own["fully_connected.weight"], own["fully_connected.bias"]))
    return F.linear(hidden, own["fully_connected_1.weight"], own["fully_connected_1.bias"])


def test_model_fn_has_the_pages_arguments_in_their_order():
    model_fn = execute(FOLDER / "model.py").model_fn
    assert list(inspect.signature(model_fn).parameters) == ["features", "labels", "mode", "params"]


def test_the_spec_takes_the_pages_arguments_under_both_names():
    assert dovetail.CSEstimatorSpec is dovetail.EstimatorSpec
    loss = torch.ones((), requires_grad=True)
    accuracy = metrics.accuracy(torch.tensor([1]), torch.tensor([1]))
    spec = dovetail.CSEstimatorSpec(
        mode=dovetail.ModeKeys.TRAIN,
        loss=loss,
        train_op=dovetail.optimizers.SGD(0.1).minimize(loss),
        host_call={"accuracy": accuracy},
    )
    assert spec.host_call == {"accuracy": accuracy}
    with pytest.raises(DefinitionError, match="both eval_metric_ops and host_call"):
        dovetail.CSEstimatorSpec(
            mode="eval", loss=loss, host_call={"a": accuracy}, eval_metric_ops={"a": accuracy}
        )


def test_the_flow_trains_as_a_loop_by_hand_does_and_accumulation_changes_nothing(tmp_path: Path):
    assert run(tmp_path, "--mode", "train", "--max_steps", 10) == 0
    states = [checkpoint.load(path).model for path in checkpoint.listed(tmp_path)]
    assert len(states) == 3
    first = {name: value for name, value in states[0].items() if value.is_floating_point()}
    expected = by_hand(first, 10)
    for name, value in expected.items():
        torch.testing.assert_close(states[2][name], value.detach())


def test_features_and_labels_may_be_tensors_or_dicts(tmp_path: Path):
    run(tmp_path / "dicts", "--mode", "train", "--max_steps", 3)
    run(tmp_path / "tensors", "--mode", "train", "--max_steps", 3, *AS_TENSORS)
    dicts, tensors = (
        checkpoint.load(checkpoint.listed(tmp_path / of)[-1]).model for of in ("dicts", "tensors")
    )
    assert all(torch.equal(dicts[name], tensors[name]) for name in dicts)


def test_train_and_eval_then_eval_all_then_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(tmp_path, "--mode", "train_and_eval") == 0
    capsys.readouterr()
    assert run(tmp_path, "--mode", "eval_all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines] == ["0", "5", "10", "12"]
    assert run(tmp_path, "--mode", "predict") == 0
    own = checkpoint.load(checkpoint.listed(tmp_path)[-1]).model
    data = execute(FOLDER / "data.py")
    section = {"batch_size": 7, "batches": 3, "seed": 2, "as_dict": False}
    batches = data.examples(section)
    rows = (tmp_path / "predict" / "0000000012.jsonl").read_text().splitlines()
    predicted = torch.tensor([json.loads(row)["logits"] for row in rows])
    expected = torch.cat([logits_by_hand(own, x) for x, _ in batches])
    torch.testing.assert_close(predicted, expected)
    hits = (expected.argmax(1) == torch.cat([labels for _, labels in batches])).float()
    assert f"accuracy {float(hits.mean()):.4g}" in lines[-1]


def test_the_pages_metric_without_arguments_and_its_bare_optimizer_are_refused():
    with pytest.raises(TypeError, match="labels"):
        metrics.accuracy()  # pyright: ignore[reportCallIssue] (as the page prints it)
    loss = torch.ones((), requires_grad=True)
    with pytest.raises(DefinitionError, match=r"minimize\(loss\)"):
        dovetail.CSEstimatorSpec(mode="train", loss=loss, train_op=dovetail.optimizers.SGD(0.1))


def test_a_model_fn_of_keras_layers_gives_what_one_of_ours_does():
    import keras

    of_ours = execute(FOLDER / "model.py").model_fn
    params = yaml.safe_load(PARAMS.read_text())

    def of_keras(features, labels, mode, params):
        x = layers.layer(keras.layers.Dense, params["model"]["hidden_size"], "tanh")(features["x"])
        logits = layers.layer(keras.layers.Dense, params["model"]["num_classes"])(x)
        if mode == dovetail.ModeKeys.PREDICT:
            return dovetail.CSEstimatorSpec(mode=mode, predictions={"logits": logits})
        loss = F.cross_entropy(logits, labels["y"])
        train_op = dovetail.optimizers.SGD(0.5).minimize(loss)
        return dovetail.CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)

    features, labels = execute(FOLDER / "data.py").examples(params["train_input"])[0]
    keras_program, program = (
        dovetail.build(model_fn, params=params, example=(features, labels), device="cpu")
        for model_fn in (of_keras, of_ours)
    )
    theirs = list(keras_program.state().values())
    for own, value in zip(program.state().values(), theirs, strict=True):
        own.copy_(value.T if value.dim() == 2 else value)
    torch.testing.assert_close(
        keras_program.eval_step(features, labels)["loss"],
        program.eval_step(features, labels)["loss"],
        rtol=1e-5,
        atol=1e-6,
    )
    assert keras_program.train_step(features, labels)["loss"].isfinite()

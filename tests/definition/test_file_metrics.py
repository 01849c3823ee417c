"""The metrics of a model file, in all their forms, over batches of unequal sizes."""

import re
from typing import Any

import pytest
import sklearn.metrics
import torch

import dovetail
from dovetail.errors import DefinitionError

HEAD = """
import keras
import torch
import torchmetrics
import dovetail
from dovetail import metrics

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
    def forward(self, x):
        return self.linear(x).softmax(-1)

class Two(Net):
    def forward(self, x):
        h = self.linear(x)
        return {"digit": h[:, :3].softmax(-1), "odd": h[:, 3:].sigmoid()}

def loss(output, labels):
    return sum(value.square().mean() for value in output.values()) \\
        if isinstance(output, dict) else output.square().mean()

def optimizer():
    return dovetail.optimizers.SGD(0.1)

model = Net()
"""
TWO = HEAD + "model = Two()\n"
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(50, 3, generator=GENERATOR)
Y = torch.randint(4, (50,), generator=GENERATOR)
BOTH = {"digit": Y % 3, "odd": (Y % 2)[:, None]}
SIZES = (1, 30, 2, 17)


@pytest.fixture
def load(tmp_path):
    def load(text, head=HEAD, **kwargs):
        path = tmp_path / "digits.py"
        path.write_text(head + text + "\n")
        return dovetail.load(path, **kwargs)

    return load


def split(value):
    if isinstance(value, dict):
        parts = {name: split(one) for name, one in value.items()}
        return [{n: p[i] for n, p in parts.items()} for i in range(len(SIZES))]
    return value.split(SIZES)


def evaluated(definition, labels: Any = Y) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what an evaluation gives, and the predictions of all rows."""
    config = dovetail.RunConfig(model_dir=str(definition.path.parent / "run"), device="cpu")
    estimator = dovetail.Estimator(definition, config=config)

    def input_fn():
        return list(zip(split({"x": X}), split(labels), strict=True))

    estimator.train(input_fn, steps=1)
    values = estimator.evaluate(input_fn)
    (predictions,) = estimator.predict(lambda: [{"x": X}], yield_single_examples=False)
    predictions = {name: torch.from_numpy(value) for name, value in predictions.items()}
    return values, predictions


def refusal(load, text, labels: Any = Y, head=HEAD):
    with pytest.raises(DefinitionError) as caught:
        dovetail.build(load(text, head), example=({"x": X}, labels), device="cpu")
    return str(caught.value)


ACCURACIES = {
    "of a batch": "def eval_metrics_fn(predictions, labels):\n"
    "    return {'accuracy': (predictions.argmax(1) == labels).float()}",
    "of a batch, labels first": "def eval_metrics_fn(labels, predictions):\n"
    "    return {'accuracy': metrics.accuracy(labels, predictions.argmax(1))}",
    "function": "def eval_metrics_fn():\n"
    "    return {'accuracy': lambda labels, predictions: labels == predictions.argmax(1)}",
    "function of page 4's order": "def right(predictions, labels):\n"
    "    return (labels == predictions.argmax(1)).float()\n"
    "def eval_metrics_fn():\n"
    "    return {'accuracy': right}",
    "function with other names": "def eval_metrics_fn():\n"
    "    return {'accuracy': lambda a, b: metrics.accuracy(a, b.argmax(1))}",
    "function of Dovetail": "def eval_metrics_fn():\n"
    "    return {'accuracy': lambda labels, outputs: "
    "metrics.sparse_top_k_accuracy(labels, outputs, 1)}",
    "function of Keras": "def eval_metrics_fn():\n"
    "    return {'accuracy': keras.metrics.sparse_categorical_accuracy}",
    "object of Keras": "def eval_metrics_fn():\n"
    "    return {'accuracy': keras.metrics.SparseCategoricalAccuracy()}",
    "object of Keras, made once": "accuracy = keras.metrics.SparseCategoricalAccuracy()\n"
    "def eval_metrics_fn():\n"
    "    return {'accuracy': accuracy}",
    "object of torchmetrics": "def eval_metrics_fn(count=4):\n"
    "    return {'accuracy': torchmetrics.classification.MulticlassAccuracy("
    "count, average='micro')}",
    "class of Keras": "def eval_metrics_fn(predictions, labels):\n"
    "    return {'accuracy': metrics.measure(\n"
    "        keras.metrics.SparseCategoricalAccuracy, labels, predictions)}",
    "with params": "def eval_metrics_fn(params, mode):\n"
    "    assert mode == 'eval' or mode == 'train', mode\n"
    "    return {'accuracy': keras.metrics.SparseCategoricalAccuracy()}",
}


@pytest.mark.parametrize("form", ACCURACIES)
def test_batches_of_unequal_sizes_give_the_metric_of_all_rows(load, form):
    values, predictions = evaluated(load(ACCURACIES[form]))
    expected = sklearn.metrics.accuracy_score(Y, predictions["output"].argmax(1))
    assert values["accuracy"] == pytest.approx(expected, rel=1e-6)


def test_a_mix_of_functions_and_objects_is_measured(load):
    values, predictions = evaluated(
        load(
            "def eval_metrics_fn():\n"
            "    return {'odd': {'auc': keras.metrics.AUC(num_thresholds=5000),\n"
            "                    'exact': metrics.auc,\n"
            "                    'recall': keras.metrics.Recall(thresholds=0.5),\n"
            "                    'rmse': keras.metrics.RootMeanSquaredError(),\n"
            "                    'error': keras.metrics.mean_absolute_error},\n"
            "            'digit': {'accuracy': lambda labels, predictions:\n"
            "                          (labels == predictions.argmax(1)).float().mean(),\n"
            "                      'top': keras.metrics.SparseTopKCategoricalAccuracy(k=2)},\n"
            "            'sure': lambda labels, predictions: predictions['odd'] > 0.9}",
            TWO,
        ),
        BOTH,
    )
    digit, odd = predictions["digit"], predictions["odd"]
    learn = sklearn.metrics
    assert values.pop("global_step") == 1
    assert values.pop("loss") > 0
    by_thresholds = values.pop("odd/auc")
    assert by_thresholds == pytest.approx(learn.roc_auc_score(BOTH["odd"], odd), rel=0.01)
    assert values == pytest.approx(
        {
            "odd/exact": learn.roc_auc_score(BOTH["odd"], odd),
            "odd/recall": learn.recall_score(BOTH["odd"], odd > 0.5),
            "odd/rmse": learn.root_mean_squared_error(BOTH["odd"], odd),
            "odd/error": learn.mean_absolute_error(BOTH["odd"], odd),
            "digit/accuracy": learn.accuracy_score(BOTH["digit"], digit.argmax(1)),
            "digit/top": learn.top_k_accuracy_score(BOTH["digit"], digit, k=2),
            "sure": float((odd > 0.9).float().mean()),
        },
        rel=1e-6,
    )


def test_metrics_of_a_batch_are_nested_too(load):
    values, predictions = evaluated(
        load(
            "def eval_metrics_fn(predictions, labels):\n"
            "    return {'digit': {'right': labels['digit'] == predictions['digit'].argmax(1)},\n"
            "            'odd': {'auc': metrics.auc(labels['odd'], predictions['odd'])}}",
            TWO,
        ),
        BOTH,
    )
    right = (BOTH["digit"] == predictions["digit"].argmax(1)).float().mean()
    auc = sklearn.metrics.roc_auc_score(BOTH["odd"], predictions["odd"])
    assert values["digit/right"] == pytest.approx(float(right))
    assert values["odd/auc"] == pytest.approx(auc)


KERAS = """
import keras
import torch
a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
h = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()([a, b]))
digit = keras.layers.Dense(3)(h)
odd = keras.layers.Dense(1, activation="sigmoid")(h)
model = keras.Model([a, b], {"digit": digit, "odd": odd})

loss = {
    "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "odd": keras.losses.BinaryCrossentropy(),
}

def optimizer():
    return keras.optimizers.SGD(0.1)

def preprocess(features):
    return {"a": features["x"][:, :2], "b": features["x"][:, 2:] * 2}

def eval_metrics_fn():
    return {
        "digit": {"accuracy": keras.metrics.SparseCategoricalAccuracy()},
        "odd": {"rmse": keras.metrics.RootMeanSquaredError()},
    }
"""


def test_a_keras_model_of_several_inputs_and_outputs_is_measured(load):
    labels = {"digit": BOTH["digit"][:, None], "odd": BOTH["odd"]}
    values, predictions = evaluated(load("", KERAS), labels)
    digit, odd = predictions["digit"], predictions["odd"]
    right = sklearn.metrics.accuracy_score(BOTH["digit"], digit.argmax(1))
    assert values["digit/accuracy"] == pytest.approx(right)
    rmse = sklearn.metrics.root_mean_squared_error(BOTH["odd"], odd)
    assert values["odd/rmse"] == pytest.approx(float(rmse), rel=1e-6)
    loss = torch.nn.functional.cross_entropy(digit, BOTH["digit"])
    loss = loss + torch.nn.functional.binary_cross_entropy(odd, BOTH["odd"].float())
    assert values["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_metric_of_one_output_gets_all_labels_where_they_have_no_such_name(load):
    text = "def eval_metrics_fn():\n    return {'digit': {'a': keras.metrics.MeanIoU(3)}}"
    text = text.replace("keras.metrics.MeanIoU(3)", "keras.metrics.SparseCategoricalAccuracy()")
    values, predictions = evaluated(load(text, TWO), Y % 3)
    expected = sklearn.metrics.accuracy_score(Y % 3, predictions["digit"].argmax(1))
    assert values["digit/a"] == pytest.approx(expected)


def test_settings_of_the_function_are_params(load):
    text = "def eval_metrics_fn(k=1):\n    return {'top': top(k)}\ndef top(k):\n    return "
    text += "keras.metrics.SparseTopKCategoricalAccuracy(k=k)"
    assert load(text).params.to_dict() == {"eval_metrics_fn": {"k": 1}}
    values, _ = evaluated(load(text, params={"eval_metrics_fn": {"k": 4}}))
    assert values["top"] == 1


def test_training_shows_the_metrics_of_a_batch_alone(load):
    definition = load(ACCURACIES["object of Keras, made once"])
    program = dovetail.build(definition, example=({"x": X}, Y), device="cpu")
    from dovetail.run.measures import measured

    for rows in (slice(0, 20), slice(20, 50)):
        before = program.predict_step({"x": X[rows]})["predictions"]["output"]
        output = program.train_step({"x": X[rows]}, Y[rows])
        shown = measured(program, output, output["loss"], len(Y[rows]))
        expected = sklearn.metrics.accuracy_score(Y[rows], before.argmax(1))
        assert shown["accuracy"] == pytest.approx(expected)


def test_metrics_are_read_once_in_a_program(load):
    definition = load("calls = []\ndef eval_metrics_fn():\n    calls.append(1)\n    return {}")
    program = dovetail.build(definition, example=({"x": X}, Y), device="cpu")
    for _ in range(3):
        program.eval_step({"x": X}, Y)
    module = __import__("sys").modules[type(program.network.model).__module__]
    assert len(module.calls) <= 2  # one for each mode


def test_the_step_compiles_with_metrics_of_both_forms(load):
    for form in ("of a batch", "function", "object of Keras", "object of torchmetrics"):
        definition = load(ACCURACIES[form])
        program = dovetail.build(definition, example=({"x": X}, Y), device="cpu")
        expected = program.eval_step({"x": X}, Y)
        torch._dynamo.reset()
        compiled = torch.compile(program.network, fullgraph=True, backend="eager")
        given = compiled({"x": X}, Y)
        for name, tensor in expected["metrics"]["accuracy"].items():
            torch.testing.assert_close(given["metrics"]["accuracy"][name], tensor)


# Mistakes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "def eval_metrics_fn(predictions, labels):\n    return {'auc': keras.metrics.AUC()}",
            r"eval_metrics_fn \(.*digits.py:\d+\): 'auc' is an AUC, an object that would be new at "
            r"each batch. Let eval_metrics_fn take no arguments and return \{'auc': AUC",
        ),
        (
            "def eval_metrics_fn(predictions, labels):\n    return {'r2': torchmetrics.R2Score()}",
            r"write dovetail.metrics.measure\(R2Score",
        ),
        (
            "def eval_metrics_fn(predictions, labels):\n"
            "    return {'a': keras.metrics.sparse_categorical_accuracy}",
            "'a' is a function. Call it on predictions and labels; or let",
        ),
        (
            "def eval_metrics_fn(predictions, labels):\n    return {'a': 'accuracy'}",
            "'a' is a str; it must be a tensor",
        ),
        (
            "def eval_metrics_fn():\n    return {'a': 'accuracy'}",
            r"'a' is the text 'accuracy'. An eval.*keras.metrics.SparseCategoricalAccuracy\(\)",
        ),
        ("def eval_metrics_fn():\n    return {'a': torch.ones(2)}", "'a' is of type Tensor. An ev"),
        (
            "eval_metrics_fn = [keras.metrics.AUC()]",
            r"it is of type list. Write def eval_metrics_fn\(\): return {'NAME': keras.metrics",
        ),
        ("def eval_metrics_fn():\n    return {'a': lambda labels, p: 3}", "'a' is an int; it must"),
        (
            "def eval_metrics_fn():\n    return {'a': keras.metrics.AUC}",
            r"'a' is the class AUC. Give an object of it: AUC\(\)",
        ),
        (
            "def eval_metrics_fn():\n    return {'a': keras.metrics.Mean()}",
            "'a' is a Mean, which takes values, not labels and predictions",
        ),
        (
            "def eval_metrics_fn():\n    return {'a': torchmetrics.MeanMetric()}",
            "'a' is a MeanMetric, which takes values",
        ),
        ("def eval_metrics_fn():\n    return [keras.metrics.AUC()]", "returned a list; it must"),
        ("def eval_metrics_fn():\n    return {'a': {'b': {}}}", "'a/b' is a dict; metrics are"),
        ("def eval_metrics_fn():\n    return {'loss': metrics.auc}", "an evaluation has 'loss'"),
        (
            "def eval_metrics_fn(predictions, labels):\n    return {'global_step': predictions}",
            "an evaluation has 'global_step' already",
        ),
        (
            "def eval_metrics_fn():\n    return {'a/b': metrics.auc, 'a': {'b': metrics.auc}}",
            "an evaluation has 'a/b' already",
        ),
        (
            "def eval_metrics_fn():\n    return {'digti': {'a': metrics.auc}}",
            "'digti/a': the model has no output 'digti'.*Its outputs are: output",
        ),
    ],
)
def test_metrics_that_can_not_work_are_named_with_the_cure(load, text, expected):
    assert re.search(expected, refusal(load, text), re.DOTALL)


def test_an_object_for_one_tensor_names_the_outputs_that_it_got(load):
    text = "def eval_metrics_fn():\n    return {'auc': keras.metrics.AUC()}"
    message = refusal(load, text, BOTH, TWO)
    assert "'auc' takes one tensor, and the labels are several (digit, odd). Nest it" in message
    definition = load(text)
    with pytest.raises(DefinitionError, match="'auc' needs labels; there are none"):
        dovetail.build(definition, device="cpu").train_step({"x": X}, None)

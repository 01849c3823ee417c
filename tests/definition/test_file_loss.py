"""The loss of a model file, in all its forms, and what it counts for."""

import re
import subprocess
import sys
from typing import Any

import keras
import pytest
import torch
from torch.nn import functional as F

import dovetail
from dovetail.errors import DefinitionError

HEAD = """
import functools
import keras
import torch
from torch.nn import functional as F
import dovetail

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
    def forward(self, x):
        return self.linear(x)

class Two(Net):
    def forward(self, x):
        h = self.linear(x)
        return {"digit": h[:, :3], "odd": h[:, 3:]}

def optimizer(lr=0.1):
    return dovetail.optimizers.SGD(lr)

model = Net()
"""
TWO = HEAD + "model = Two()\n"
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 3, 1, 2, 2, 0])


@pytest.fixture
def load(tmp_path):
    def load(text, head=HEAD, **kwargs):
        path = tmp_path / "digits.py"
        path.write_text(head + text + "\n")
        return dovetail.load(path, **kwargs)

    return load


def built(definition, labels: Any = Y):
    return dovetail.build(definition, example=({"x": X}, labels), device="cpu")


def outputs(program):
    return program.predict_step({"x": X})["predictions"]


def refusal(load, text, labels=Y, head=HEAD):
    with pytest.raises(DefinitionError) as caught:
        built(load(text, head), labels)
    return str(caught.value)


# Whose order


@pytest.mark.parametrize("labels", [Y, Y[:, None]], ids=["[batch]", "[batch, 1]"])
@pytest.mark.parametrize(
    "loss",
    [
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
        "loss = torch.nn.CrossEntropyLoss()",
        "loss = F.cross_entropy",
        "loss = functools.partial(F.cross_entropy, ignore_index=-1)",
        "def loss(output, labels): return F.cross_entropy(output, labels.flatten())",
        "def loss(labels, output): return F.cross_entropy(output, labels.flatten())",
        "def loss(logits, targets): return F.cross_entropy(logits, targets.flatten())",
        "def loss(targets, logits): return F.cross_entropy(logits, targets.flatten())",
        "def loss(y_true, y_pred): return F.cross_entropy(y_pred, y_true.flatten())",
        "def loss(y_pred, y_true): return F.cross_entropy(y_pred, y_true.flatten())",
        "def loss(output, labels):\n"
        "    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)\n"
        "    return entropy(labels, output)",
        "def loss(output, labels):\n"
        "    each = keras.losses.sparse_categorical_crossentropy\n"
        "    return each(labels, output, from_logits=True).mean()",
        "class Own(keras.losses.Loss):\n"
        "    def call(self, y_true, y_pred):\n"
        "        each = keras.losses.sparse_categorical_crossentropy\n"
        "        return each(y_true, y_pred, from_logits=True)\n"
        "loss = Own()",
        "class Own(torch.nn.Module):\n"
        "    def forward(self, targets, outputs):\n"
        "        return F.cross_entropy(outputs, targets.flatten())\n"
        "loss = Own()",
    ],
)
def test_a_loss_gets_labels_and_output_in_its_own_order(load, loss, labels):
    program = built(load(loss), labels)
    expected = F.cross_entropy(outputs(program)["output"], Y)
    given = program.eval_step({"x": X}, labels)["loss"]
    torch.testing.assert_close(given, expected)


def test_a_keras_regression_loss_is_not_mirrored(load):
    labels = torch.rand(6, 4) + 1
    program = built(load("loss = keras.losses.MeanAbsolutePercentageError()"), labels)
    output = outputs(program)["output"]
    expected = 100 * ((labels - output).abs() / labels).mean()
    torch.testing.assert_close(program.eval_step({"x": X}, labels)["loss"], expected)


def test_labels_in_a_dict_of_one_reach_a_loss_of_a_library(load):
    program = built(load("loss = torch.nn.CrossEntropyLoss()"), {"label": Y})
    expected = F.cross_entropy(outputs(program)["output"], Y)
    torch.testing.assert_close(program.eval_step({"x": X}, {"label": Y})["loss"], expected)


def test_settings_of_a_function_of_torch_are_params(load):
    definition = load("loss = F.cross_entropy", params={"loss": {"label_smoothing": 0.2}})
    program = built(definition)
    expected = F.cross_entropy(outputs(program)["output"], Y, label_smoothing=0.2)
    torch.testing.assert_close(program.eval_step({"x": X}, Y)["loss"], expected)


def test_an_object_of_a_loss_adds_no_params(load):
    for loss in ("keras.losses.MeanSquaredError()", "torch.nn.MSELoss()"):
        assert load(f"loss = {loss}").params.to_dict() == {"optimizer": {"lr": 0.1}}


def test_weights_of_classes_are_part_of_the_program(load):
    program = built(
        load("loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))")
    )
    assert "loss.weight" in program.state()
    expected = F.cross_entropy(outputs(program)["output"], Y, program.state()["loss.weight"])
    torch.testing.assert_close(program.eval_step({"x": X}, Y)["loss"], expected)


def test_a_loss_with_weights_of_its_own_is_trained(load):
    program = built(
        load(
            "class Scaled(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.scale = torch.nn.Parameter(torch.ones(()))\n"
            "    def forward(self, output, labels):\n"
            "        return F.cross_entropy(output * self.scale, labels)\n"
            "loss = Scaled()"
        )
    )
    before = program.state()["loss.scale"].clone()
    program.train_step({"x": X}, Y)
    assert not torch.equal(before, program.state()["loss.scale"])


# A loss for each output


def test_losses_of_outputs_are_summed(load):
    digit, odd = Y % 3, (Y % 2).float()[:, None]
    program = built(
        load(
            "loss = {'digit': keras.losses.SparseCategoricalCrossentropy(from_logits=True),\n"
            "        'odd': F.binary_cross_entropy_with_logits}",
            TWO,
        ),
        {"digit": digit, "odd": odd},
    )
    output = outputs(program)
    assert list(output) == ["digit", "odd"]
    expected = F.cross_entropy(output["digit"], digit)
    expected = expected + F.binary_cross_entropy_with_logits(output["odd"], odd)
    given = program.eval_step({"x": X}, {"digit": digit, "odd": odd})["loss"]
    torch.testing.assert_close(given, expected)


def test_a_loss_of_one_output_gets_all_labels_where_they_have_no_such_name(load):
    program = built(load("loss = {'digit': torch.nn.CrossEntropyLoss()}", TWO), Y % 3)
    expected = F.cross_entropy(outputs(program)["digit"], Y % 3)
    torch.testing.assert_close(program.eval_step({"x": X}, Y % 3)["loss"], expected)


def test_outputs_of_a_tuple_have_the_names_that_predictions_have(load):
    pair = HEAD + (
        "class Pair(Net):\n    def forward(self, x):\n"
        "        return self.linear(x), -self.linear(x)\nmodel = Pair()\n"
    )
    program = built(load("loss = {'output_1': F.cross_entropy}", pair))
    expected = F.cross_entropy(outputs(program)["output_1"], Y)
    torch.testing.assert_close(program.eval_step({"x": X}, Y)["loss"], expected)


def test_names_of_layers_are_no_names_of_a_keras_models_list_of_outputs(load):
    model = (
        "x = keras.Input((3,), name='x')\n"
        "made = [keras.layers.Dense(1, name=name)(x) for name in ('c', 'r')]\n"
        "model = keras.Model(x, made)\n"
        "loss = {'c': keras.losses.Huber(), 'r': keras.losses.Huber()}"
    )
    message = refusal(load, model)
    assert (
        "no output 'c'. Its outputs are: output_0, output_1. To name them let the model" in message
    )


def test_a_function_gets_the_dict_of_outputs(load):
    program = built(
        load("def loss(output, labels): return F.cross_entropy(output['digit'], labels)", TWO),
        Y % 3,
    )
    losses = [float(program.train_step({"x": X}, Y % 3)["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]


# What a loss counts for


def steps(definition, labels, parts, count=3):
    """Train and return the losses and the weights; parts are of unequal sizes."""
    program = dovetail.build(definition, example=({"x": X}, labels), device="cpu")
    losses = [program.train_step({"x": X}, labels, parts=parts)["loss"] for _ in range(count)]
    return torch.stack(losses), program.state()["model.linear.weight"].clone()


TOKENS = torch.tensor([[0, 9], [9, 9], [1, 2], [3, 3], [9, 2], [1, 0]])
SEQUENCE = HEAD + (
    "class Tokens(Net):\n    def forward(self, x):\n"
    "        return torch.stack([self.linear(x), self.linear(-x)], 1)\nmodel = Tokens()\n"
)


@pytest.mark.parametrize("parts", [4, 5])
@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)", Y),
        (
            "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='sum')",
            Y,
        ),
        ("loss = torch.nn.CrossEntropyLoss(reduction='sum')", Y),
        ("loss = functools.partial(F.cross_entropy, reduction='sum')", Y),
        ("loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1., 2., 3., 4.]))", Y),
        ("loss = torch.nn.CrossEntropyLoss(ignore_index=2)", Y),
        ("loss = functools.partial(F.cross_entropy, ignore_index=2)", Y),
        (
            "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)",
            Y,
        ),
        ("loss = torch.nn.MSELoss()", torch.rand(6, 4)),
        ("loss = torch.nn.MSELoss(reduction='sum')", torch.rand(6, 4)),
        ("loss = torch.nn.CrossEntropyLoss(weight=torch.ones(4))", torch.rand(6, 4).softmax(1)),
        (
            "loss_weight = 'sum'\n"
            "def loss(output, labels): return F.cross_entropy(output, labels, reduction='sum')",
            Y,
        ),
        (
            "def loss_weight(labels): return (labels != 2).sum()\n"
            "def loss(output, labels): return F.cross_entropy(output, labels, ignore_index=2)",
            Y,
        ),
        (
            "def loss_weight(labels): return len(labels)\n"
            "def loss(output, labels): return F.cross_entropy(output, labels)",
            Y,
        ),
        (
            "def loss_weight(labels, output, scale=3.0): return output.shape[0] * scale\n"
            "def loss(output, labels): return F.cross_entropy(output, labels)",
            Y,
        ),
    ],
)
def test_parts_of_unequal_sizes_train_as_the_whole_batch(load, loss, labels, parts):
    definition = load(loss)
    if "!=" in loss:
        parts = 3  # of equal sizes, but not of labels that count; torch's mean over none is nan
    whole, together = (steps(definition, labels, n) for n in (1, parts))
    torch.testing.assert_close(whole, together)


@pytest.mark.parametrize(
    "loss",
    [
        "def loss_weight(labels): return (labels != 9).sum()\n"
        "def loss(output, labels):\n"
        "    kept = labels != 9\n"
        "    return F.cross_entropy(output[kept], labels[kept])",
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=9)",
    ],
)
def test_a_mean_over_tokens_counts_for_its_tokens(load, loss):
    definition = load(loss, SEQUENCE)
    torch.testing.assert_close(steps(definition, TOKENS, 1), steps(definition, TOKENS, 4))


MASKED = """
inputs = keras.Input((5,), dtype="int32", name="ids")
hidden = keras.layers.Embedding(7, 4, mask_zero=True)(inputs)
"""
IDS = torch.tensor([[1, 2, 3, 0, 0], [1, 0, 0, 0, 0], [1, 2, 3, 4, 5], [2, 2, 0, 0, 0]])


def masked_steps(definition, labels, parts):
    program = dovetail.build(definition, example=({"ids": IDS}, labels), device="cpu")
    losses = [program.train_step({"ids": IDS}, labels, parts=parts)["loss"] for _ in range(3)]
    return torch.stack(losses)


@pytest.mark.parametrize("ignored", ["", ", ignore_class=1"])
def test_steps_that_a_keras_model_masks_do_not_count(load, ignored):
    definition = load(
        MASKED + "model = keras.Model(inputs, keras.layers.Dense(3)(hidden))\n"
        f"loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True{ignored})"
    )
    whole = masked_steps(definition, IDS % 3, 1)
    torch.testing.assert_close(whole, masked_steps(definition, IDS % 3, 3))


def test_masked_outputs_of_several_losses_want_a_weight(load):
    text = MASKED + (
        "out = {name: keras.layers.Dense(3, name=name)(hidden) for name in 'ab'}\n"
        "model = keras.Model(inputs, out)\n"
        "each = keras.losses.SparseCategoricalCrossentropy(from_logits=True)\n"
        "loss = {'a': each, 'b': each}\n"
    )
    with pytest.raises(DefinitionError, match=r"loss\['a'\] leaves out what the model masks"):
        masked_steps(load(text), IDS % 3, 1)
    masked_steps(load(text.replace("'b': each", "")), IDS % 3, 3)  # one counts for its own
    ids_count = "def loss_weight(labels): return (labels != 0).sum()\n"
    definition = load(text + ids_count)
    labels = torch.where(IDS > 0, IDS.clamp(max=2), 0)
    torch.testing.assert_close(*(masked_steps(definition, labels, n) for n in (1, 3)))


def test_keras_computes_where_the_program_does(load):
    for loss in (
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
        "def loss(output, labels):\n"
        "    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy("
        "labels, output, from_logits=True))",
    ):
        program = built(load(loss))
        expected = F.cross_entropy(outputs(program)["output"], Y)
        with keras.device("meta"):  # as Keras chooses an accelerator for a program on the CPU
            torch.testing.assert_close(program.eval_step({"x": X}, Y)["loss"], expected)


def test_labels_that_torch_leaves_out_do_not_count(load):
    definition = load(
        "def loss(output, labels): return entropy(output.flatten(0, 1), labels.flatten())\n"
        "entropy = torch.nn.CrossEntropyLoss()\n"
        "def loss_weight(labels): return (labels >= 0).sum()",
        SEQUENCE,
    )
    plain = load(
        "class Flat(torch.nn.CrossEntropyLoss):\n"
        "    def forward(self, input, target):\n"
        "        return super().forward(input.movedim(-1, 1), target)\n"
        "loss = Flat()",
        SEQUENCE,
    )
    labels = torch.where(TOKENS == 9, -100, TOKENS)
    whole = steps(definition, labels, 1)
    torch.testing.assert_close(whole, steps(definition, labels, 4))
    torch.testing.assert_close(whole, steps(plain, labels, 4))


def test_losses_of_outputs_that_are_sums_add_up(load):
    text = (
        "loss = {'digit': torch.nn.CrossEntropyLoss(reduction='sum'),\n"
        "        'odd': keras.losses.BinaryCrossentropy(from_logits=True, reduction='sum')}"
    )
    labels = {"digit": Y % 3, "odd": (Y % 2).float()[:, None]}
    definition = load(text, TWO)
    torch.testing.assert_close(steps(definition, labels, 1), steps(definition, labels, 4))


# Mistakes


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            "def loss(output, labels): return F.cross_entropy(output, labels, reduction='none')",
            r"loss \(.*digits.py:\d+\) gave values of shape \[6\]; a loss is a scalar. Take its "
            r"mean",
        ),
        (
            "loss = keras.losses.sparse_categorical_crossentropy",
            r"values of shape \[6\].* loss = keras.losses.SparseCategoricalCrossentropy\(\)",
        ),
        ("loss = torch.nn.CrossEntropyLoss(reduction='none')", "reduction='none', so it gives"),
        ("loss = keras.losses.MeanSquaredError(reduction=None)", "reduction='none', so it gives"),
        ("loss = functools.partial(F.mse_loss, reduction='none')", "reduction='none'"),
        ("loss = torch.nn.CrossEntropyLoss", r"Give an object: loss = CrossEntropyLoss\(\)"),
        ("loss = keras.losses.Huber", r"Give an object: loss = Huber\(\)"),
        (
            "def loss(output, labels): return F.cross_entropy(output, labels).item()",
            "returned a float. Return the loss as a tensor",
        ),
        (
            "def loss(output, labels): return F.cross_entropy(output, labels), 3",
            r"returned a tuple. Return the loss alone; .* loss_weight\(labels\)",
        ),
        ("loss = 'mse'", r"function; it is the text 'mse'.*keras.losses.MeanSquaredError\(\)"),
        (
            "loss = ['mse', keras.losses.Huber()]",
            r"it is a list \('mse', Huber\). For several outputs give a dict by output: loss = {",
        ),
        ("loss = {'output': 'mse'}", r"loss\['output'\] must be a function; it is the text"),
        ("loss = {}", "loss is an empty dict"),
        ("loss = {'a': {}}", r"loss\['a'\] is a dict"),
        ("loss = {'output': 3}", r"loss\['output'\] must be a function"),
        ("loss = {'outptu': F.mse_loss}", "no output 'outptu'. Did you mean 'output'"),
        ("loss = F.mse_loss\nloss_weight = 'mean'", "loss_weight is 'mean'; it must be 'sum'"),
        ("loss = F.mse_loss\nloss_weight = True", "loss_weight is True"),
        ("loss = F.mse_loss\ndef loss_weight(a, b): return 1\n", "wants an argument 'b'"),
    ],
)
def test_a_loss_that_can_not_work_is_named_with_the_cure(load, loss, expected):
    assert re.search(expected, refusal(load, loss), re.DOTALL)


def test_a_loss_for_one_tensor_names_the_outputs_that_it_got(load):
    message = refusal(load, "loss = torch.nn.CrossEntropyLoss()", Y % 3, TWO)
    assert "CrossEntropyLoss takes one tensor, and the output are several (digit, odd)" in message


def test_a_loss_of_a_library_without_labels_says_so(load):
    definition = load("loss = torch.nn.CrossEntropyLoss()")
    with pytest.raises(DefinitionError, match="CrossEntropyLoss needs labels; there are none"):
        dovetail.build(definition, device="cpu").train_step({"x": X}, None)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("torch.nn.CrossEntropyLoss(reduction='sum')", "F.mse_loss", "some are sums"),
        (
            "torch.nn.CrossEntropyLoss(ignore_index=0)",
            "F.mse_loss",
            r"loss\['digit'\] leaves labels out",
        ),
    ],
)
def test_losses_that_count_for_different_things_want_a_weight(load, first, second, expected):
    text = f"loss = {{'digit': {first}, 'odd': {second}}}\n"
    labels = {"digit": Y % 3, "odd": (Y % 2).float()[:, None]}
    with pytest.raises(DefinitionError, match=expected):
        built(load(text, TWO), labels)
    built(load(text + "def loss_weight(labels): return len(labels['odd'])\n", TWO), labels)


def test_keras_is_not_imported_for_a_loss_of_torch(tmp_path):
    path = tmp_path / "digits.py"
    path.write_text(HEAD.replace("import keras", "") + "loss = F.cross_entropy\n")
    code = (
        "import sys, torch, dovetail\n"
        f"program = dovetail.build({str(path)!r}, device='cpu')\n"
        "program.train_step(torch.ones(2, 3), torch.tensor([0, 1]))\n"
        "assert 'keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

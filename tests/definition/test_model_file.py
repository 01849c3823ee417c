"""A Python file as a definition, and every mistake in one with its file and line."""

import sys
import types

import pytest
import torch
from torch import nn

import dovetail
from dovetail import optimizers
from dovetail.errors import DefinitionError, ParamsError

GOOD = """
import torch
import dovetail

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, image):
        return self.linear(image)

model = Net()

def loss(output, labels):
    return ((output - labels) ** 2).mean()

def optimizer(lr=0.1):
    return dovetail.optimizers.SGD(lr)

def eval_metrics_fn(predictions, labels):
    return {"error": (predictions - labels).abs()}
"""
X, Y = {"image": torch.ones(4, 3)}, torch.zeros(4, 1)


@pytest.fixture
def write(tmp_path):
    def write(text, name="digits.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


def refusal(path, **kwargs):
    with pytest.raises(DefinitionError) as caught:
        dovetail.load(path, **kwargs)
    return str(caught.value)


# What a good file does


def test_a_model_file_trains_evaluates_and_predicts(write):
    program = dovetail.build(write(GOOD), device="cpu")
    losses = [float(program.train_step(X, Y)["loss"]) for _ in range(10)]
    assert losses[-1] < losses[0]
    evaluated = program.eval_step(X, Y)
    predicted = program.predict_step(X)["predictions"]["output"]
    torch.testing.assert_close(evaluated["metrics"]["error"]["values"], predicted.abs())
    assert list(program.state()) == ["model.linear.weight", "model.linear.bias"]


def test_a_model_file_is_the_plain_loop(write):
    program = dovetail.build(write(GOOD), example=(X, Y), device="cpu")
    plain = nn.Linear(3, 1)
    plain.load_state_dict({k[13:]: v for k, v in program.state().items()})
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(5):
        program.train_step(X, Y)
        optimizer.zero_grad()
        ((plain(X["image"]) - Y) ** 2).mean().backward()
        optimizer.step()
    assert torch.equal(plain.weight, program.state()["model.linear.weight"])
    assert torch.equal(plain.bias, program.state()["model.linear.bias"])


def test_a_global_model_is_seeded_and_fresh_for_each_program(write):
    definition = dovetail.load(write(GOOD))
    torch.manual_seed(5)
    one = dovetail.build(definition, example=(X, Y), device="cpu")
    torch.manual_seed(6)
    two = dovetail.build(definition, example=(X, Y), device="cpu")
    name = "model.linear.weight"
    assert torch.equal(one.state()[name], two.state()[name])
    one.train_step(X, Y)
    assert not torch.equal(one.state()[name], two.state()[name])
    other = dovetail.build(definition, example=(X, Y), device="cpu", seed=1)
    assert not torch.equal(other.state()[name], two.state()[name])
    three = dovetail.build(definition, example=(X, Y), device="cpu")
    assert torch.equal(three.state()[name], two.state()[name])


def test_an_imported_model_is_shared_by_no_two_programs(write):
    write(GOOD, "nets_beside.py")
    path = write("from nets_beside import model, loss, optimizer\n")
    one = dovetail.build(path, example=(X, Y), device="cpu")
    one.train_step(X, Y)
    two = dovetail.build(path, example=(X, Y), device="cpu")
    name = "model.linear.weight"
    assert not torch.equal(one.state()[name], two.state()[name])
    two.train_step(X, Y)
    assert torch.equal(one.state()[name], two.state()[name])
    del sys.modules["nets_beside"]


@pytest.mark.parametrize("with_file", [True, False])
def test_a_module_is_a_definition_too(write, with_file):
    module = types.ModuleType("in_a_notebook")
    exec(compile(GOOD, "cell", "exec"), module.__dict__)
    if with_file:
        module.__file__ = str(write(GOOD))
    programs = [dovetail.build(module, example=(X, Y), device="cpu") for _ in range(2)]
    programs[0].train_step(X, Y)
    name = "model.linear.weight"
    assert not torch.equal(programs[0].state()[name], programs[1].state()[name])


@pytest.mark.parametrize(
    "model",
    ["model = Net", "def model():\n    return Net()", "def model(params):\n    return Net()"],
)
def test_a_model_may_be_a_class_or_a_function(write, model):
    program = dovetail.build(write(changed("model = Net()", model)), device="cpu")
    program.train_step(X, Y)
    assert program.state()["model.linear.weight"].shape == (1, 3)


def test_a_file_with_model_fn_has_its_params(write):
    path = write(
        "import dovetail\nparams = dovetail.HParams(width=4, rate=0.1)\n"
        "def model_fn(features, labels, mode, params):\n"
        "    h = dovetail.layers.fully_connected(features['image'], params.width)\n"
        "    loss = h.square().mean()\n"
        "    op = dovetail.optimizers.SGD(params.rate).minimize(loss)\n"
        "    return dovetail.EstimatorSpec(mode, h, loss, op)\n"
    )
    definition = dovetail.load(path, params={"width": 2})
    assert (definition.way, definition.name) == ("model_fn", "digits")
    assert definition.params.to_dict() == {"width": 2, "rate": 0.1}
    program = dovetail.build(definition, example=(X, Y), device="cpu")
    assert program.state()["fully_connected.weight"].shape == (2, 3)
    with pytest.raises(ParamsError, match=r"'widht' is not a parameter.*Did you mean 'width'"):
        dovetail.load(path, params={"widht": 2})


def test_defaults_of_functions_are_params(write):
    definition = dovetail.load(write(GOOD))
    assert definition.params.to_dict() == {"optimizer": {"lr": 0.1}}
    program = dovetail.build(definition, params={"optimizer": {"lr": 0.25}}, example=(X, Y))
    program.train_step(X, Y)
    assert program.learning_rate == 0.25
    with pytest.raises(ParamsError, match=r"'optimizer.rl' is not a parameter"):
        dovetail.load(definition, params={"optimizer": {"rl": 0.25}})
    with pytest.raises(ParamsError, match="'batchsize' is not a parameter"):
        dovetail.load(definition, params={"batchsize": 3})
    assert dovetail.load(definition, params={"batch_size": 3}).params.batch_size == 3


def test_a_section_of_params_named_like_a_function_is_read_through_params(write):
    text = changed(
        "def optimizer(lr=0.1):", "def optimizer(params):\n    lr = params.optimizer.rate"
    )
    path = write("params = {'optimizer': {'rate': 0.5}, 'loss': {'scale': 1}}\n" + text)
    program = dovetail.build(path, device="cpu")
    program.train_step(X, Y)
    assert program.learning_rate == 0.5


def test_a_callable_may_stand_for_the_optimizer(write):
    text = changed(
        "return dovetail.optimizers.SGD(lr)",
        "return lambda parameters: torch.optim.NAdam(parameters, lr=lr)",
    )
    program = dovetail.build(write(text), device="cpu")
    program.train_step(X, Y)
    assert type(program.optimizer) is torch.optim.NAdam


def test_metrics_are_left_out_of_steps_at_which_nobody_looks(write):
    program = dovetail.build(write(GOOD), device="cpu")
    assert "metrics" in program.train_step(X, Y)
    assert "metrics" not in program.train_step(X, Y, summary=False)
    assert "metrics" in program.train_step(X, Y, summary=True)
    assert list(program.statics("train").metrics) == ["error"]


# Features to the module's arguments


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def module_file(forward):
    return changed("def forward(self, image):", f"def forward(self, {forward}):").replace(
        "return self.linear(image)", "return self.linear(seen(locals()))"
    ) + (
        "\ndef seen(values):\n    del values['self']\n    values.pop('__class__', None)\n"
        "    calls.append(values)\n    return torch.ones(4, 3)\ncalls = []\n"
    )


@pytest.mark.parametrize(
    ("forward", "features", "expected"),
    [
        ("image", ["image"], {"image": "image"}),
        ("x", ["image"], {"x": "image"}),
        ("image, mask", ["mask", "image"], {"image": "image", "mask": "mask"}),
        ("image, mask=None", ["image"], {"image": "image", "mask": None}),
        ("x, mask=None", ["image"], {"x": "image", "mask": None}),
        ("features", ["image", "mask"], {"features": dict}),
        ("features: dict", ["image"], {"features": dict}),
        ("features: 'dict[str, torch.Tensor]'", ["image"], {"features": dict}),
        ("image, **rest", ["image", "mask"], {"image": "image", "rest": dict}),
        ("x", None, {"x": "tensor"}),
    ],
)
def test_features_reach_forward_by_name(write, forward, features, expected):
    marks = {"image": 1.0, "mask": 2.0, "tensor": 3.0}
    given = (
        torch.full((4, 3), 3.0)
        if features is None
        else {name: torch.full((4, 3), marks[name]) for name in features}
    )
    program = dovetail.build(write(module_file(forward)), example=(given, Y), device="cpu")
    module = sys.modules[type(program.network.model).__module__]
    (values,) = module.calls
    assert set(values) == set(expected)
    for name, what in expected.items():
        if what is dict:
            assert isinstance(values[name], dict)
        elif what is None:
            assert values[name] is None
        else:
            assert float(values[name].mean()) == marks[what]


def test_features_that_fit_no_argument_are_named(write):
    with pytest.raises(DefinitionError) as caught:
        dovetail.build(
            write(module_file("image, mask")), example=({"image": Y, "msk": Y}, Y), device="cpu"
        )
    assert "Net.forward takes image, mask, and the features are image, msk" in str(caught.value)


# Mistakes


def test_an_absent_part_is_named_with_what_to_write(write):
    path = write(changed("def optimizer(lr=0.1)", "def other(lr=0.1)"))
    message = refusal(path)
    assert message == (
        f"{path}: optimizer is missing. Define `optimizer()`: it returns "
        "dovetail.optimizers.SGD(0.1), say."
    )


@pytest.mark.parametrize(
    ("old", "new", "part", "wrong"),
    [
        ("model = Net()", "modle = Net()", "model", "modle"),
        ("def loss(", "def lose(", "loss", "lose"),
        ("def optimizer(", "def optimiser(", "optimizer", "optimiser"),
        ("def eval_metrics_fn(", "def eval_metric_fn(", "eval_metrics_fn", "eval_metric_fn"),
        (
            "def eval_metrics_fn(",
            "def costum_data_reader(",
            "custom_data_reader",
            "costum_data_reader",
        ),
    ],
)
def test_a_part_nearly_right_is_named_with_its_line(write, old, new, part, wrong):
    text = changed(old, new)
    path = write(text)
    message = refusal(path)
    line = line_of(text, new)
    assert message.startswith(f"{path}:{line}: {part} is ")
    assert f"'{wrong}' (line {line}) looks like it, misspelt" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["processed", "input_fn_for_tests", "make_data_schema", "losses"])
def test_other_functions_of_the_file_are_left_alone(write, name):
    dovetail.load(write(GOOD + f"\ndef {name}(a, b, c):\n    pass\n"))


def test_a_file_without_a_model_says_what_it_needs(write):
    assert "the file defines no model. It needs model_fn(" in refusal(write("x = 1\n"))
    message = refusal(write("def modelfn(features, labels, mode, params):\n    pass\n"))
    assert "'modelfn' (line 1) looks like it" in message


def test_parts_defined_twice_are_named_with_both_lines(write):
    text = GOOD + "\ndef loss(output, labels):\n    return output.mean()\n"
    path = write(text)
    lines = line_of(text, "def loss"), len(text[: text.rindex("def loss")].splitlines()) + 1
    message = refusal(path)
    assert (
        f"{path}:{lines[1]}: loss is defined more than once (lines {lines[0]}, {lines[1]})"
        in message
    )


def test_two_definitions_in_one_file_are_refused(write):
    message = refusal(write(GOOD + "\ndef model_fn(features, labels, mode):\n    pass\n"))
    assert "the file has model_fn and also model, loss and optimizer" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def loss(output, labels)", "def loss(output)", "does not take 'labels'"),
        ("def loss(output, labels)", "def loss(a, b, c)", "wants an argument 'c'"),
        ("def optimizer(lr=0.1)", "def optimizer(lr)", "wants an argument 'lr'"),
        ("def loss(output, labels)", "loss = 3\ndef _l(output, labels)", "loss must be a function"),
        ("model = Net()", "model = 3", "model is an int. Define `model`: a torch or Keras model"),
        (
            "def optimizer(lr=0.1)",
            "optimizer = dovetail.optimizers.Adam(0.1)\ndef _o(lr=0.1)",
            "optimizer is an Adam. Write a function that returns it: def optimizer(): return "
            "dovetail.optimizers.Adam(...)",
        ),
        (
            "def optimizer(lr=0.1)",
            "optimizer = __import__('keras').optimizers.Adam(0.1)\ndef _o(lr=0.1)",
            "optimizer is an Adam. Write a function that returns it: def optimizer(): return "
            "keras.optimizers.Adam(...)",
        ),
        (
            "def eval_metrics_fn(predictions, labels)",
            "def eval_metrics_fn(predictions, labels, extra)",
            "wants an argument 'extra'",
        ),
    ],
)
def test_a_signature_that_can_not_work_is_refused_with_its_line(write, old, new, expected):
    text = changed(old, new)
    path = write(text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line_of(text, new)}: ")
    assert expected in message


def test_a_model_fn_that_can_not_work_is_refused_with_its_line(write):
    path = write("\ndef model_fn(features, label, mode):\n    pass\n")
    message = refusal(path)
    assert message.startswith(f"{path}:2: model_fn: model_fn ({path}:2) wants an argument 'label'")


def test_all_mistakes_are_reported_at_once(write):
    text = (
        changed("def loss(output, labels)", "def loss(output)")
        .replace("def optimizer(", "def optimiser(")
        .replace("model = Net()", "model = 3")
    ) + "\nparams = [1]\ndef data_schema():\n    return [{'name': 'image'}]\n"
    path = write(text)
    message = refusal(path)
    assert message.startswith("5 problems in the definition:\n")
    for part in (
        "optimizer is missing",
        "'labels'",
        "model is an int",
        "params must be",
        "data_schema:",
    ):
        assert part in message
    assert message.count(f"{path}:") == 6  # the line of each problem, and of one function


def test_params_that_clash_with_defaults_are_refused(write):
    message = refusal(write(GOOD + "\nparams = {'optimizer': 'sgd'}\n"))
    assert "params has a key 'optimizer'" in message
    assert "Rename one" in message


def test_a_schema_is_read_and_its_mistakes_named(write):
    definition = dovetail.load(
        write(
            GOOD + "\ndef data_schema(size=3):\n"
            "    return [{'name': 'image', 'shape': [size], 'dtype': 'float32'}]\n"
        )
    )
    assert definition.schema["image"].shape == (3,)
    message = refusal(write(GOOD + "\ndef data_schema():\n    return 1 / 0\n"))
    assert "data_schema: ZeroDivisionError" in message


def test_a_torch_optimizer_is_refused_with_file_and_line(write):
    text = changed(
        "return dovetail.optimizers.SGD(lr)", "return torch.optim.SGD(model.parameters(), lr=lr)"
    )
    path = write(text)
    with pytest.raises(DefinitionError) as caught:
        dovetail.build(path, device="cpu")
    message = str(caught.value)
    assert f"optimizer ({path}:{line_of(text, 'def optimizer')}): A torch.optim.SGD" in message
    assert "dovetail.optimizers.SGD(...)" in message


def test_a_model_function_that_gives_no_module_is_refused(write):
    path = write(changed("model = Net()", "def model():\n    return 3"))
    with pytest.raises(DefinitionError, match=r"model: model \(.*digits.py:\d+\) returned an int"):
        dovetail.build(path, device="cpu")


@pytest.mark.parametrize("output", ["None", "3.0", "'text'"])
def test_a_model_that_returns_no_tensors_is_refused(write, output):
    path = write(changed("return self.linear(image)", f"return {output}"))
    with pytest.raises(DefinitionError, match="it must return a tensor, a dict of tensors"):
        dovetail.build(path, example=(X, Y), device="cpu")


def test_the_parts_beside_the_model_are_kept(write):
    definition = dovetail.load(
        write(
            GOOD + "\ndef input_fn(records, size=2):\n    return records, size\n"
            "def prepare_data_for_a_single_file(filename):\n    return filename\n"
            "def process(predictions, worker_id):\n    return worker_id\n"
        )
    )
    assert definition.input_fn is not None
    assert definition.input_fn({"records": [1], "params": 0, "mode": 0, "config": 0}) == ([1], 2)
    assert definition.prepare_data_for_a_single_file("a") == "a"
    assert definition.process({"predictions": 0, "worker_id": 3}) == 3
    assert definition.way == "model file"


def test_optimizers_are_described_alike_at_each_build(write):
    path = write(GOOD)
    one, two = (dovetail.build(path, example=(X, Y), device="cpu") for _ in range(2))
    described = [p.statics("train").train_ops["optimizer"].optimizer for p in (one, two)]
    assert described[0] == described[1] == optimizers.SGD(0.1)


def test_a_reader_of_its_own_is_made_from_the_files_params(write):
    definition = dovetail.load(
        write(
            GOOD + "\nclass Reader:\n    def __init__(self, size):\n        self.size = size\n"
            "    def __call__(self, filename):\n        return filename * self.size\n"
            "def custom_data_reader(size=2):\n    return Reader(size)\n"
        ),
        params={"custom_data_reader": {"size": 3}},
    )
    assert definition.custom_data_reader()("a") == "aa"
    assert definition.custom_data_reader(definition.params)("a") == "aaa"
    assert dovetail.load(write(GOOD)).custom_data_reader is None


def test_two_ways_to_read_files_are_refused(write):
    text = GOOD + (
        "\ndef prepare_data_for_a_single_file(filename):\n    return filename\n"
        "def custom_data_reader():\n    return print\n"
    )
    path = write(text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line_of(text, 'def custom')}: the file has prepare_data_")


# What a file may say otherwise, and mistakes with a cure


def test_a_function_that_returns_an_imported_module_leaves_it_as_it_is(write, monkeypatch):
    library = types.ModuleType("netlib_of_test")
    library.net = nn.Linear(3, 1)
    monkeypatch.setitem(sys.modules, "netlib_of_test", library)
    before = library.net.weight.detach().clone()
    text = changed(
        "model = Net()", "def model():\n    import netlib_of_test\n    return netlib_of_test.net"
    )
    path = write(text)
    dovetail.build(path, device="cpu").train_step(X, Y)
    assert torch.equal(library.net.weight, before)
    second = dovetail.build(path, example=(X, Y), device="cpu")
    assert torch.equal(second.state()["model.weight"], before)


def test_forward_is_told_whether_it_trains(write):
    path = write(
        changed(
            "def forward(self, image):\n        return self.linear(image)",
            "def forward(self, image, training=False):\n"
            "        return self.linear(image) * (0.0 if training else 1.0)",
        )
    )
    program = dovetail.build(path, example=(X, Y), device="cpu")
    assert float(program.train_step(X, Y + 2)["loss"]) == 4.0
    assert float(program.eval_step(X, Y + 2)["loss"]) != 4.0


def test_a_schema_may_be_a_list(write):
    text = GOOD + '\ndata_schema = [{"name": "image", "shape": [3], "dtype": "float32"}]\n'
    schema = dovetail.load(write(text)).schema
    assert schema is not None
    assert schema.to_list() == [{"name": "image", "shape": [3], "dtype": "float32"}]


def test_a_named_tuple_gives_its_names_to_predictions(write):
    text = changed(
        "return self.linear(image)",
        "y = self.linear(image)\n        return Output(y, -y)",
    ).replace(
        "import dovetail\n",
        "import dovetail\nfrom collections import namedtuple\n"
        "Output = namedtuple('Output', 'y less')\n",
        1,
    )
    text = text.replace("output - labels", "output.y - labels").replace(
        "predictions - labels", "predictions.y - labels"
    )
    predicted = dovetail.build(write(text), example=X, device="cpu").predict_step(X)
    assert list(predicted["predictions"]) == ["y", "less"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "def optimizer(lr=0.1):\n    return dovetail.optimizers.SGD(lr)",
            "optimizer = dovetail.optimizers.SGD(0.1)",
            "optimizer is a SGD. Write a function that returns it: def optimizer(): return",
        ),
        ("model = Net()", "model = 'resnet'", "model is a str. Define `model`: a torch or Keras"),
    ],
)
def test_a_part_that_is_no_function_is_refused_with_what_to_write(write, old, new, said):
    assert said in refusal(write(changed(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "def optimizer(lr=0.1):\n    return dovetail.optimizers.SGD(lr)",
            "def optimizer(params):\n    return torch.optim.SGD(params, lr=0.1)",
            "are the hyperparameters, not the model's parameters. Return dovetail.optimizers.SGD",
        ),
        ("model = Net()", "def model():\n    return Net", "returned the class Net; it must return"),
        (
            "return self.linear(image)",
            "return {'y': self.linear(image), 'n': 3}",
            "model returned a dict whose 'n' is an int; it must return a tensor",
        ),
        ("return self.linear(image)", "return {}", "model returned an empty dict"),
    ],
)
def test_what_a_part_returns_is_refused_with_what_to_write(write, old, new, said):
    with pytest.raises(DefinitionError) as caught:
        dovetail.build(write(changed(old, new)), example=(X, Y), device="cpu")
    assert said in str(caught.value)


def test_a_preprocess_without_a_return_is_named(write):
    path = write(GOOD + "\ndef preprocess(features):\n    features['image'] * 2\n")
    with pytest.raises(DefinitionError, match=r"preprocess \(.*returned nothing.*`return` missing"):
        dovetail.build(path, example=(X, Y), device="cpu")


def test_process_may_leave_the_worker_out(write):
    path = write(GOOD + "\ndef process(predictions):\n    return predictions\n")
    assert dovetail.load(path).process is not None


def test_a_relative_import_is_refused_with_what_to_write(write):
    assert "write `import name`, without the dot" in refusal(write("from . import net\n" + GOOD))


def test_a_setting_of_a_model_that_is_made_already_is_refused_with_the_cure(write):
    definition = dovetail.load(write(changed("model = Net()", "model = Net()")))
    with pytest.raises(ParamsError, match=r"'model\.width': model has no settings\. Let it be the"):
        definition.set_text(definition.params.copy(), "model.width", "16")

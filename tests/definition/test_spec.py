"""What model_fn returns is checked when it is made, each mode by its needs."""

import pytest
import torch

import dovetail
from dovetail import metrics, optimizers
from dovetail.definition.spec import CSEstimatorSpec, EstimatorSpec
from dovetail.errors import DefinitionError

LOSS = torch.tensor(1.0, requires_grad=True)
OP = optimizers.SGD(0.1).minimize(LOSS)
X = torch.ones(2, 3)


def refusal(*args, **kwargs):
    with pytest.raises(DefinitionError) as caught:
        EstimatorSpec(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("train", {"loss": LOSS, "train_op": OP}),
        ("train", {"loss": LOSS.reshape(1), "train_op": {"one": OP, "two": OP}}),
        ("eval", {"loss": LOSS}),
        ("eval", {"loss": LOSS, "eval_metric_ops": {"a": metrics.mean(X), "b": X}}),
        ("eval", {"loss": LOSS, "host_call": {"a": metrics.mean(X)}}),
        ("eval", {"loss": LOSS, "host_call": (lambda x: {"a": x}, [X])}),
        ("infer", {"predictions": X}),
        ("infer", {"predictions": {"a": X}, "export_outputs": {"serving": {"a": X}}}),
        ("infer", {"predictions": X, "export_outputs": {"serving": X}}),
        ("train", {"loss": LOSS, "train_op": OP, "loss_weight": "sum"}),
        ("train", {"loss": LOSS, "train_op": OP, "loss_weight": torch.tensor([3])}),
        ("train", {"loss": LOSS, "train_op": OP, "loss_weight": 3}),
    ],
)
def test_what_a_mode_needs_is_enough(mode, given):
    assert EstimatorSpec(mode, **given).mode == dovetail.ModeKeys(mode)


def test_a_spec_is_frozen_and_has_a_second_name():
    assert CSEstimatorSpec is EstimatorSpec is dovetail.CSEstimatorSpec
    with pytest.raises(AttributeError):
        EstimatorSpec("infer", X).loss = LOSS


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        ("train", {"train_op": OP}, "no loss, which TRAIN mode needs"),
        ("eval", {"predictions": X}, "no loss, which EVAL mode needs"),
        ("train", {"loss": LOSS}, "no train_op, which TRAIN mode needs"),
        ("infer", {"loss": LOSS}, "no predictions, which PREDICT mode needs"),
    ],
)
def test_what_a_mode_lacks_is_named_with_what_to_write(mode, given, expected):
    message = refusal(mode, **given)
    assert expected in message
    assert "=" in message.split(expected)[1]


@pytest.mark.parametrize("mode", ["training", None, "predict", 3])
def test_unknown_modes_are_refused(mode):
    message = refusal(mode, loss=LOSS)
    assert f"mode={mode!r}" in message
    assert "'train', 'eval', 'infer'" in message


def eval_with(**given):
    return refusal("eval", **{"loss": LOSS, **given})


@pytest.mark.parametrize("loss", [torch.ones(3), torch.ones(1, 1)])
def test_a_loss_that_is_no_scalar_is_refused_with_its_shape(loss):
    message = eval_with(loss=loss)
    assert f"its shape is {list(loss.shape)}" in message
    assert "Take its mean" in message
    op = optimizers.SGD(0.1).minimize(loss)
    message = refusal("train", loss=LOSS, train_op={"critic": op})
    assert "minimize for train_op['critic'] must be a scalar" in message


def test_a_loss_that_is_no_tensor_is_refused():
    assert "it is a float" in eval_with(loss=0.5)
    assert ".item()" in eval_with(loss=0.5)


def test_a_torch_optimizer_is_refused_with_its_description():
    parameter = torch.nn.Parameter(torch.ones(1))
    message = refusal("train", loss=LOSS, train_op=torch.optim.RMSprop([parameter], lr=0.1))
    assert "RMSprop made inside model_fn" in message
    assert "dovetail.optimizers.RMSProp(learning_rate=...).minimize(loss)" in message


@pytest.mark.parametrize(
    ("train_op", "expected"),
    [
        (optimizers.SGD(0.1), "it is a SGD"),
        (LOSS, "it is a Tensor"),
        ({}, "empty dict"),
        ({"a": LOSS}, "train_op['a'] must be"),
        ({"average": optimizers.SGD(0.1).minimize(LOSS)}, "can't be named 'average'"),
    ],
)
def test_what_is_no_train_op_is_refused(train_op, expected):
    assert expected in refusal("train", loss=LOSS, train_op=train_op)


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([X], "it is a list"),
        ({}, "empty dict"),
        ({"a": X, "b": 1.0}, "predictions['b'] must be a tensor; it is a float"),
    ],
)
def test_predictions_that_are_no_tensors_are_refused(predictions, expected):
    assert expected in refusal("infer", predictions=predictions)


def test_metrics_are_given_once():
    message = eval_with(eval_metric_ops={"a": X}, host_call={"a": X})
    assert "both eval_metric_ops and host_call" in message


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([X], "must be a dict of name -> metric; it is a list"),
        ({"a": 3}, "eval_metric_ops['a'] must be a metric"),
        ({"loss": X}, "eval_metric_ops has 'loss', which every evaluation shows of its own"),
        ({"global_step": X}, "eval_metric_ops has 'global_step'"),
        ({"a": (X, X)}, "it is a tuple"),
    ],
)
def test_what_is_no_metric_is_refused(ops, expected):
    assert expected in eval_with(eval_metric_ops=ops)


def test_a_torchmetrics_object_is_refused_with_measure():
    class Metric:
        def update(self, x):
            pass

        def compute(self):
            pass

    assert "dovetail.metrics.measure(TheClass" in eval_with(eval_metric_ops={"a": Metric()})
    assert "host_call['a']" in eval_with(host_call={"a": Metric()})


@pytest.mark.parametrize(
    "host_call", [lambda: 0, (lambda: 0,), (lambda: 0, X), (X, [X]), (lambda x: 0, [1.0])]
)
def test_a_host_call_is_a_function_and_tensors(host_call):
    assert "(function, [tensors]) or a dict of metrics" in eval_with(host_call=host_call)


@pytest.mark.parametrize("weight", ["mean", 0, -1.0, float("nan"), True, [1.0]])
def test_a_loss_weight_of_no_use_is_refused(weight):
    assert f"loss_weight={weight!r}" in eval_with(loss_weight=weight)


def test_a_loss_weight_per_example_is_refused():
    assert "its shape is [2, 3]" in eval_with(loss_weight=X)


def test_export_outputs_are_named():
    assert "it is a list" in refusal("infer", X, export_outputs=[X])


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ([X], "export_outputs['serving'] must be a tensor or a dict of tensors; it is a list"),
        ({"a": 1}, "export_outputs['serving']['a'] must be a tensor; it is an int"),
        ({}, "export_outputs['serving'] is an empty dict"),
        (None, "export_outputs['serving'] is None"),
    ],
)
def test_a_signature_to_export_holds_tensors(signature, expected):
    assert expected in refusal("infer", X, export_outputs={"serving": signature})

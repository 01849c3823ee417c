"""Metric objects of Keras and torchmetrics, fed in batches of unequal sizes, against all rows."""

import copy
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.classification import BinaryAUROC, MulticlassF1Score

from dovetail import metrics
from dovetail.definition.keras.metrics import Copies, KerasState, fresh, is_metric_object
from dovetail.definition.metrics import MetricSet
from dovetail.errors import DefinitionError

ROWS = 101
SIZES = (1, 40, 7, 53)
GENERATOR = np.random.default_rng(0)
SCORES = torch.from_numpy(GENERATOR.random((ROWS, 1), dtype=np.float32))
BINARY = (SCORES[:, 0] + torch.from_numpy(GENERATOR.random(ROWS, dtype=np.float32)) > 1).long()
CLASSES = torch.from_numpy(GENERATOR.integers(0, 4, ROWS))
LOGITS = torch.from_numpy(GENERATOR.normal(size=(ROWS, 4)).astype(np.float32))
LOGITS[torch.arange(ROWS), CLASSES] += 1
ONE_HOT = torch.nn.functional.one_hot(CLASSES, 4).float()
REAL = torch.from_numpy(GENERATOR.random((ROWS, 3), dtype=np.float32)) + 0.5

# the data that a class takes: labels, predictions
DATA = {
    "binary": (BINARY[:, None], SCORES),
    "sparse": (CLASSES[:, None], LOGITS.softmax(1)),
    "one hot": (ONE_HOT, LOGITS.softmax(1)),
    "ids": (CLASSES, LOGITS.argmax(1)),
    "real": (REAL, REAL.flip(0) + REAL / 3),
}
KINDS = {
    "Accuracy": ("ids", {}),
    "BinaryAccuracy": ("binary", {"threshold": 0.4}),
    "CategoricalAccuracy": ("one hot", {}),
    "SparseCategoricalAccuracy": ("sparse", {}),
    "SparseTopKCategoricalAccuracy": ("sparse", {"k": 2}),
    "TopKCategoricalAccuracy": ("one hot", {"k": 2}),
    "AUC": ("binary", {}),
    "FalseNegatives": ("binary", {}),
    "FalsePositives": ("binary", {"thresholds": [0.2, 0.6]}),
    "Precision": ("binary", {"thresholds": 0.3}),
    "PrecisionAtRecall": ("binary", {"recall": 0.7}),
    "Recall": ("binary", {}),
    "RecallAtPrecision": ("binary", {"precision": 0.7}),
    "SensitivityAtSpecificity": ("binary", {"specificity": 0.6}),
    "SpecificityAtSensitivity": ("binary", {"sensitivity": 0.6}),
    "TrueNegatives": ("binary", {}),
    "TruePositives": ("binary", {}),
    "ConcordanceCorrelation": ("real", {}),
    "PearsonCorrelation": ("real", {}),
    "F1Score": ("one hot", {}),
    "FBetaScore": ("one hot", {"average": "macro", "beta": 2.0}),
    "CategoricalHinge": ("one hot", {}),
    "Hinge": ("binary", {}),
    "SquaredHinge": ("binary", {}),
    "BinaryIoU": ("binary", {"threshold": 0.4}),
    "IoU": ("ids", {"num_classes": 4, "target_class_ids": [0, 2]}),
    "MeanIoU": ("ids", {"num_classes": 4}),
    "OneHotIoU": ("one hot", {"num_classes": 4, "target_class_ids": [1]}),
    "OneHotMeanIoU": ("one hot", {"num_classes": 4}),
    "BinaryCrossentropy": ("binary", {}),
    "CategoricalCrossentropy": ("one hot", {"label_smoothing": 0.1}),
    "KLDivergence": ("one hot", {}),
    "Poisson": ("real", {}),
    "SparseCategoricalCrossentropy": ("sparse", {}),
    "CosineSimilarity": ("real", {}),
    "LogCoshError": ("real", {}),
    "MeanAbsoluteError": ("real", {}),
    "MeanAbsolutePercentageError": ("real", {}),
    "MeanSquaredError": ("real", {}),
    "MeanSquaredLogarithmicError": ("real", {}),
    "R2Score": ("real", {}),
    "RootMeanSquaredError": ("real", {}),
}
MORE = {
    "AUC of several labels": keras.metrics.AUC(multi_label=True, num_labels=4),
    "AUC of precision and recall": keras.metrics.AUC(curve="PR", from_logits=False),
}


class Rows(keras.metrics.Metric):
    """A class of the user's, which needs an argument that its config does not hold."""

    def __init__(self, scale, name="rows"):
        super().__init__(name=name)
        self.scale = scale
        self.rows = self.add_variable(shape=(), initializer="zeros", name="rows")
        self.largest = self.add_variable(shape=(), initializer="zeros", name="largest")
        self.sizes = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows.assign(self.rows + self.scale * len(y_true))
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))
        self.sizes.append(len(y_true))

    def reset_state(self):
        super().reset_state()
        self.sizes = []

    def result(self):
        return {"rows": self.rows, "largest": self.largest, "batches": len(self.sizes)}


def batches(*tensors):
    return zip(*(tensor.split(SIZES) for tensor in tensors), strict=True)


def evaluated(op_of_batch, *tensors) -> Any:
    """Feed the batches as an evaluation does: the first op's static half, all tensors."""
    states = None
    for batch in batches(*tensors):
        op = op_of_batch(*batch)
        if states is None:
            states = MetricSet({"m": metrics.MetricOp(op.factory, op.kwargs)})
        states.update({"m": op.tensors}, weight=len(batch[0]))
    assert states is not None
    values = states.compute()
    return values["m"] if set(values) == {"m"} else values


def plain(value):
    return np.asarray(getattr(value, "value", value).tolist())


def test_every_metric_of_keras_that_takes_labels_is_tested():
    classes = {
        name
        for name, cls in vars(keras.metrics).items()
        if isinstance(cls, type) and name not in ("Metric", "Mean", "Sum", "MeanMetricWrapper")
    }
    assert classes == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_batches_of_unequal_sizes_give_the_metric_of_all_rows(name):
    kind, kwargs = KINDS[name]
    labels, predictions = DATA[kind]
    whole = getattr(keras.metrics, name)(**kwargs)
    whole.update_state(labels, predictions)
    expected = plain(whole.result())
    given = getattr(keras.metrics, name)(**kwargs)
    of_object = evaluated(Copies(given).op, labels, predictions)
    np.testing.assert_allclose(of_object, expected, rtol=2e-6, atol=1e-7)
    of_class = evaluated(
        lambda y, p: metrics.measure(getattr(keras.metrics, name), y, p, **kwargs),
        labels,
        predictions,
    )
    assert of_class == of_object
    assert not any(np.any(plain(variable)) for variable in given.variables)  # it saw nothing


# Keras reads these batches on the host: the range of labels, and one row after the other.
WAITING = {"Hinge", "SquaredHinge", "BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"}


class Reads(TorchDispatchMode):
    """Counts what would wait for a device: numbers, and shapes that depend on numbers."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        names = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero")
        self.count += any(name in str(func) for name in names)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", KINDS)
def test_nothing_waits_for_the_device_but_where_keras_does(name):
    kind, kwargs = KINDS[name]
    op = Copies(getattr(keras.metrics, name)(**kwargs)).op(*DATA[kind])
    states = MetricSet({"m": op})
    states.update({"m": op.tensors})  # some make their variables at the first batch
    with Reads() as reads:
        states.update({"m": op.tensors})
    assert (reads.count > 0) == (name in WAITING)


@pytest.mark.parametrize("name", MORE)
def test_settings_of_the_object_are_kept(name):
    labels, predictions = DATA["one hot"]
    whole = copy.deepcopy(MORE[name])
    whole.update_state(labels, predictions)
    value = evaluated(Copies(MORE[name]).op, labels, predictions)
    np.testing.assert_allclose(value, plain(whole.result()), rtol=2e-6)


def test_values_are_those_of_scikit_learn():
    labels, scores = DATA["binary"]
    guessed = scores[:, 0] > 0.5
    ids, predicted = DATA["ids"]
    real, fitted = DATA["real"]

    def value(metric, *tensors):
        return evaluated(Copies(metric).op, *tensors)

    learn = sklearn.metrics
    expected = {
        keras.metrics.Precision(): learn.precision_score(BINARY, guessed),
        keras.metrics.Recall(): learn.recall_score(BINARY, guessed),
        BinaryAUROC(): learn.roc_auc_score(BINARY, SCORES),
    }
    for metric, known in expected.items():
        given = DATA["binary"] if is_keras(metric) else (BINARY, SCORES[:, 0])
        assert value(metric, *given) == pytest.approx(known, rel=1e-6)
    many = keras.metrics.AUC(num_thresholds=20_000)
    assert value(many, labels, scores) == pytest.approx(learn.roc_auc_score(BINARY, SCORES), 1e-3)
    iou = learn.jaccard_score(ids, predicted, average="macro")
    assert value(keras.metrics.MeanIoU(num_classes=4), ids, predicted) == pytest.approx(iou)
    rmse = learn.root_mean_squared_error(real.flatten(), fitted.flatten())
    metric = keras.metrics.RootMeanSquaredError()
    assert value(metric, real, fitted) == pytest.approx(float(rmse), rel=1e-6)
    right = learn.accuracy_score(ids, predicted)
    metric = keras.metrics.SparseCategoricalAccuracy()
    assert value(metric, *DATA["sparse"]) == pytest.approx(right)
    metric = MulticlassF1Score(num_classes=4)
    f1 = learn.f1_score(ids, predicted, average="macro")
    assert value(metric, ids, predicted) == pytest.approx(f1)


def is_keras(metric):
    return isinstance(metric, keras.metrics.Metric)


def test_weights_per_example_are_keras_own():
    labels, scores = DATA["binary"]
    weights = torch.arange(ROWS).float()
    value = evaluated(
        lambda *batch: metrics.measure(keras.metrics.Recall, *batch), labels, scores, weights
    )
    expected = sklearn.metrics.recall_score(BINARY, SCORES > 0.5, sample_weight=weights)
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_values_are_measured_too(name):
    value = evaluated(lambda v: metrics.measure(getattr(keras.metrics, name), v), SCORES)
    expected = SCORES.double().mean() if name == "Mean" else SCORES.double().sum()
    assert value == pytest.approx(float(expected), rel=1e-6)


def test_a_metric_of_a_function_takes_any_function():
    given = keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: (y_true - y_pred) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = evaluated(Copies(given).op, REAL[:, 0], REAL[:, 1])
    assert value == pytest.approx(float(((REAL[:, 0] - REAL[:, 1]) ** 2).mean()), rel=1e-6)


def test_a_class_of_the_users_keeps_what_it_likes():
    values = evaluated(Copies(Rows(2.0)).op, BINARY, SCORES)
    assert values == {
        "m/rows": 2.0 * ROWS,
        "m/largest": pytest.approx(float(SCORES.max())),
        "m/batches": float(len(SIZES)),
    }
    of_class = evaluated(lambda y, p: metrics.measure(Rows, y, p, scale=2.0), BINARY, SCORES)
    assert of_class == values


def test_states_share_nothing():
    given = Rows(1.0)
    given.update_state(BINARY, SCORES)
    one, two = KerasState(fresh(given)), KerasState(fresh(given))
    one.update(BINARY[:3], SCORES[:3])
    two.update(BINARY[:5], SCORES[:5])
    one.update(BINARY[:1], SCORES[:1])
    assert [float(s.compute()["rows"]) for s in (one, two)] == [4, 5]  # type: ignore[index]
    assert given.result()["batches"] == 1
    assert float(given.result()["rows"]) == ROWS
    one.reset()
    assert one.compute()["batches"] == 0  # type: ignore[index]


@pytest.mark.parametrize("metric", [keras.metrics.AUC(), torchmetrics.MeanSquaredError()])
def test_a_value_can_be_looked_at_between_batches(metric):
    op = Copies(metric).op(BINARY[:, None].float(), SCORES)
    states = MetricSet({"m": op})
    states.update({"m": op.tensors})
    first = states.compute()
    assert states.compute() == first
    states.update({"m": op.tensors})
    assert states.compute()["m"] == pytest.approx(first["m"])
    states.reset()
    states.update({"m": op.tensors})
    assert states.compute() == first


def test_counts_go_on_beyond_what_float32_counts():
    state = KerasState(keras.metrics.TruePositives())
    state.totals = [torch.tensor([2.0**24], dtype=torch.float64)]
    for _ in range(4):
        state.update(torch.ones(1, 1), torch.ones(1, 1))
    assert float(state.compute()) == 2**24 + 4  # type: ignore[arg-type]


def test_objects_of_torchmetrics_are_given_predictions_first():
    given = torchmetrics.MetricCollection(
        [torchmetrics.R2Score(), torchmetrics.MeanAbsoluteError()]
    )
    values = evaluated(Copies(given).op, REAL[:, 0], REAL[:, 1])
    assert values["m/R2Score"] == pytest.approx(sklearn.metrics.r2_score(*REAL[:, :2].T), rel=1e-5)
    error = float((REAL[:, 0] - REAL[:, 1]).abs().double().mean())
    assert values["m/MeanAbsoluteError"] == pytest.approx(error)


def test_the_same_object_is_the_same_metric_at_every_step():
    copies = Copies(keras.metrics.AUC())
    one, two = copies.op(BINARY[:2], SCORES[:2]), copies.op(BINARY[2:], SCORES[2:])
    assert one.same_metric(two)
    assert not one.same_metric(Copies(keras.metrics.AUC()).op(BINARY, SCORES))
    described = [metrics.measure(keras.metrics.AUC, BINARY, SCORES, curve="PR") for _ in range(2)]
    assert described[0].same_metric(described[1])


class Where:
    """Keeps where Keras computed."""

    def reset_state(self):
        self.devices = []

    def update_state(self, labels, predictions):
        made: Any = keras.ops.ones(())
        self.devices.append(made.device.type)

    def result(self):
        return {"on the CPU": float(set(self.devices) == {"cpu"})}


def test_a_metric_is_fed_where_its_tensors_are():
    with keras.device("meta"):  # as Keras chooses an accelerator for a program on the CPU
        assert evaluated(Copies(Where()).op, BINARY, SCORES) == {"m/on the CPU": 1.0}


def test_what_is_a_metric_object():
    for metric in (keras.metrics.AUC(), torchmetrics.MeanMetric(), Rows(1.0)):
        assert is_metric_object(metric)
        assert not is_metric_object(type(metric))
    assert not is_metric_object(keras.metrics.mean_squared_error)
    assert not is_metric_object(torch.optim.SGD([torch.zeros(1)]))


@pytest.mark.parametrize("metric", [keras.metrics.AUC(), torchmetrics.MeanMetric()])
def test_measure_takes_a_class_and_no_object(metric):
    with pytest.raises(DefinitionError, match="its first argument is an object"):
        metrics.measure(metric, BINARY, SCORES)


def test_an_object_among_metrics_is_refused_with_what_to_write():
    with pytest.raises(DefinitionError, match=r"give its class: metrics.measure\(Class"):
        metrics.from_value(keras.metrics.AUC(), "auc")


def test_tensors_of_wrong_shapes_are_named_as_the_metric_names_them():
    op = Copies(keras.metrics.MeanSquaredError()).op(torch.ones(4), torch.ones(3, 2))
    with pytest.raises(DefinitionError, match=r"'m'.*{'y_true': \[4\], 'y_pred': \[3, 2\]}"):
        MetricSet({"m": op}).update({"m": op.tensors})

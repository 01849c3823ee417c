"""Metrics against scikit-learn and torchmetrics, over batches of 7, 64 and all rows at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dovetail.definition import metrics
from dovetail.definition.metrics import MetricOp, MetricSet
from dovetail.errors import DataError, DefinitionError

ROWS = 500
BATCHES = (7, 64, ROWS)


def evaluate(function: Callable[..., MetricOp], batch: int, *columns: Tensor, **kwargs) -> float:
    """Run one metric over the columns in batches, through a MetricSet."""
    parts = [
        function(*(c[i : i + batch] for c in columns), **kwargs)
        for i in range(0, len(columns[0]), batch)
    ]
    states = MetricSet({"m": parts[0]})
    for op in parts:
        assert op.same_metric(parts[0])
        states.update({"m": op.tensors}, weight=len(next(iter(op.tensors.values()))))
    return states.compute()["m"]


def rows(seed: int = 0, kind: str = "real") -> tuple[Tensor, Tensor, Tensor]:
    """Return labels, predictions and weights of ROWS rows."""
    rng = torch.Generator().manual_seed(seed)
    weights = torch.rand(ROWS, generator=rng)
    if kind == "real":
        labels = torch.randn(ROWS, generator=rng) * 100
        return labels, labels + torch.randn(ROWS, generator=rng), weights
    if kind == "classes":
        labels = torch.randint(0, 5, (ROWS,), generator=rng)
        noise = torch.randint(0, 5, (ROWS,), generator=rng)
        return labels, torch.where(torch.rand(ROWS, generator=rng) < 0.6, labels, noise), weights
    labels = torch.randint(0, 2, (ROWS,), generator=rng)
    scores = (labels * 0.3 + torch.rand(ROWS, generator=rng)) / 1.3
    return labels, scores, weights


def rmse(y, p, sample_weight=None):
    return sk.root_mean_squared_error(y, p, sample_weight=sample_weight)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        (metrics.accuracy, sk.accuracy_score, "classes"),
        (metrics.mean_squared_error, sk.mean_squared_error, "real"),
        (metrics.root_mean_squared_error, rmse, "real"),
        (metrics.mean_absolute_error, sk.mean_absolute_error, "real"),
        (metrics.precision, sk.precision_score, "binary"),
        (metrics.recall, sk.recall_score, "binary"),
        (metrics.f1, sk.f1_score, "binary"),
        (metrics.mean_per_class_accuracy, sk.balanced_accuracy_score, "classes"),
        (metrics.auc, sk.roc_auc_score, "scores"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_equals_scikit_learn_over_any_batching(ours, theirs, kind, weighted, batch) -> None:
    labels, predictions, weights = rows(kind=kind)
    if kind == "binary":
        predictions = predictions > 0.6
    columns = (labels, predictions)
    expected = theirs(
        labels.double().numpy(),
        predictions.double().numpy(),
        sample_weight=weights.double().numpy() if weighted else None,
    )
    extra = {"num_classes": 5} if ours is metrics.mean_per_class_accuracy else {}
    if weighted:
        value = evaluate(lambda y, p, w: ours(y, p, weights=w, **extra), batch, *columns, weights)
    else:
        value = evaluate(ours, batch, *columns, **extra)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_means_over_batches_agree_to_a_millionth_and_auc_exactly() -> None:
    labels, scores, weights = rows(3, "scores")
    for function in (metrics.accuracy, metrics.mean_squared_error, metrics.mean_absolute_error):
        values = [evaluate(function, b, labels, scores) for b in BATCHES]
        assert max(values) - min(values) <= 1e-6
    assert len({evaluate(metrics.auc, b, labels, scores) for b in BATCHES}) == 1
    assert len({evaluate(metrics.auc, b, labels, scores, weights) for b in BATCHES}) == 1


def test_long_float32_sums_do_not_drift() -> None:
    values = torch.full((100,), 0.1)
    states = MetricSet({"m": metrics.mean(values)})
    for _ in range(2000):
        states.update({"m": {"values": values}})
    assert states.compute()["m"] == pytest.approx(float(np.float32(0.1)), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=40
    ),
    st.randoms(use_true_random=False),
)
def test_auc_with_ties_and_weights_is_the_share_of_ordered_pairs(drawn, random) -> None:
    def area(rows: list[tuple[int, int, int]], weighted: bool) -> float:
        y, s, w = (torch.tensor(column) for column in zip(*rows, strict=True))
        return evaluate(metrics.auc, 3, y, s / 3, *([w.double() / 7] if weighted else []))

    for weighted in (False, True):
        pairs = [
            (wp * wn if weighted else 1, 1.0 if p > n else 0.5 if p == n else 0.0)
            for yp, p, wp in drawn
            for yn, n, wn in drawn
            if yp == 1 and yn == 0
        ]
        total = sum(w for w, _ in pairs)
        value = area(drawn, weighted)
        if total == 0:
            assert math.isnan(value)
            continue
        assert value == pytest.approx(sum(w * hit for w, hit in pairs) / total, abs=1e-12)
        shuffled = list(drawn)
        random.shuffle(shuffled)
        assert area(shuffled, weighted) == value


def test_auc_of_one_class_is_nan() -> None:
    assert math.isnan(evaluate(metrics.auc, 4, torch.ones(8), torch.rand(8)))


def test_a_batch_without_rows_changes_nothing() -> None:
    empty, y, p = torch.zeros(0), torch.tensor([0, 1]), torch.tensor([0.2, 0.9])
    for function, expected in ((metrics.auc, 1.0), (metrics.accuracy, 0.0), (metrics.f1, 1.0)):
        states = MetricSet({"m": function(empty, empty)})
        states.update({"m": {"labels": empty, "predictions": empty}})
        if function is not metrics.f1:
            assert math.isnan(states.compute()["m"])
        states.update({"m": {"labels": y, "predictions": p if expected else 1 - y}})
        assert states.compute() == {"m": expected}


def test_auc_of_nan_scores_is_refused_with_their_number() -> None:
    scores = torch.tensor([0.1, math.nan, math.nan])
    with pytest.raises(DataError, match="'m': 2 of 3 predictions are nan"):
        evaluate(metrics.auc, 2, torch.tensor([0, 1, 1]), scores)


def test_auc_keeps_its_own_copy_of_scores() -> None:
    labels, scores = torch.tensor([0, 1]), torch.tensor([0.1, 0.9])
    states = MetricSet({"auc": metrics.auc(labels, scores)})
    states.update({"auc": {"labels": labels, "predictions": scores}})
    scores.zero_()
    assert states.compute() == {"auc": 1.0}


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_equals_scikit_learn(k: int) -> None:
    labels, _, weights = rows(kind="classes")
    scores = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(1))
    expected = sk.top_k_accuracy_score(labels, scores, k=k, sample_weight=weights)
    for batch in BATCHES:
        value = evaluate(
            lambda y, p, w: metrics.sparse_top_k_accuracy(y, p, k, w),
            batch,
            labels,
            scores,
            weights,
        )
        assert value == pytest.approx(expected, rel=1e-9)


def test_top_k_counts_ties_as_among_and_nan_rows_as_wrong() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0], [math.nan, 5.0, 1.0]])
    labels = torch.tensor([[1], [0], [1]])
    assert evaluate(metrics.sparse_top_k_accuracy, 2, labels, scores, k=1) == pytest.approx(1 / 3)


@pytest.mark.parametrize("index", range(4))
def test_counts_are_the_cells_of_the_confusion_matrix(index: int) -> None:
    labels, scores, weights = rows(kind="scores")
    functions = [
        metrics.true_negatives,
        metrics.false_positives,
        metrics.false_negatives,
        metrics.true_positives,
    ]
    cells = sk.confusion_matrix(labels, scores > 0.5, sample_weight=weights.double()).ravel()
    value = evaluate(functions[index], 64, labels, scores, weights)
    assert value == pytest.approx(cells[index], rel=1e-9)


def test_threshold_moves_what_counts_as_positive() -> None:
    labels, scores = torch.tensor([1, 1, 0]), torch.tensor([0.9, 0.4, 0.2])
    assert evaluate(metrics.recall, 3, labels, scores) == 0.5
    assert evaluate(metrics.recall, 3, labels, scores, threshold=0.3) == 1.0


def test_ratios_over_nothing_are_zero() -> None:
    zeros = torch.zeros(4, dtype=torch.int64)
    for function in (metrics.precision, metrics.recall, metrics.f1):
        assert evaluate(function, 2, zeros, zeros) == 0.0


def test_per_class_accuracy_leaves_out_classes_that_do_not_occur() -> None:
    labels, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    value = evaluate(metrics.mean_per_class_accuracy, 2, labels, predictions, num_classes=9)
    assert value == pytest.approx(0.75)


def test_mean_with_weights_is_numpys_average() -> None:
    values, _, weights = rows()
    expected = np.average(values.double(), weights=weights.double())
    assert evaluate(metrics.mean, 7, values, weights) == pytest.approx(expected, rel=1e-9)
    per_row = torch.stack([values, values * 2], 1)
    assert evaluate(metrics.mean, 7, per_row, weights) == pytest.approx(expected * 1.5, rel=1e-9)


def test_a_row_of_weight_zero_may_be_nan() -> None:
    values, weights = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0])
    assert evaluate(metrics.mean, 2, values, weights) == 1.0
    assert math.isnan(evaluate(metrics.mean, 2, values, weights * 0))


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [((6, 1), (6,)), ((6,), (6, 1)), ((6, 1), (6, 1)), ((6, 2, 1), (6, 2))],
)
def test_a_last_dimension_of_one_is_squeezed(labels, predictions) -> None:
    y, p = torch.arange(math.prod(labels)), torch.arange(math.prod(predictions))
    value = evaluate(metrics.accuracy, 4, y.reshape(labels), p.reshape(predictions))
    assert value == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "hint"),
    [
        ((6,), (5,), "the same shape"),
        ((6,), (6, 10), r"predictions.argmax\(-1\)"),
        ((6, 1), (6, 10), r"predictions.argmax\(-1\)"),
        ((6, 10), (6,), r"labels.argmax\(-1\)"),
    ],
)
def test_shapes_that_differ_are_refused_by_name_with_both_shapes(labels, predictions, hint) -> None:
    op = metrics.accuracy(torch.zeros(labels), torch.zeros(predictions))
    states = MetricSet({"acc": op})
    with pytest.raises(DefinitionError, match=rf"(?s)'acc'.*\[6.*\].*\[{predictions[0]}.*{hint}"):
        states.update({"acc": op.tensors})


def test_weights_that_do_not_fit_are_refused() -> None:
    op = metrics.accuracy(torch.zeros(6), torch.zeros(6), weights=torch.ones(5))
    with pytest.raises(DefinitionError, match=r"weights have shape \[5\].*\[6\]"):
        MetricSet({"acc": op}).update({"acc": op.tensors})


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (metrics.precision, "2 labels are not 0 or 1"),
        (metrics.auc, "2 labels are not 0 or 1"),
        (
            lambda y, p: metrics.mean_per_class_accuracy(y, p, 2),
            "2 labels are not class ids from 0 to 1",
        ),
        (
            lambda y, p: metrics.sparse_top_k_accuracy(y, torch.stack([p, p], 1), 1),
            "2 labels are not class ids from 0 to 1",
        ),
    ],
)
def test_labels_out_of_range_are_counted_and_refused(function, expected) -> None:
    with pytest.raises(DataError, match=f"'m': {expected}"):
        evaluate(function, 2, torch.tensor([0, 1, 2, -1]), torch.rand(4))


def test_no_batch_is_a_clear_error_and_reset_forgets() -> None:
    op = metrics.mean(torch.ones(3))
    states = MetricSet({"m": op})
    with pytest.raises(DataError, match="No batch was evaluated, so m"):
        states.compute()
    states.update({"m": op.tensors})
    assert states.compute() == {"m": 1.0}
    states.reset()
    with pytest.raises(DataError, match="No batch"):
        states.compute()
    states.update({"m": {"values": torch.zeros(2)}})
    assert states.compute() == {"m": 0.0}


def test_scalars_weigh_by_the_number_of_examples() -> None:
    states = MetricSet({"s": metrics.from_value(torch.tensor(0.0), "s")})
    states.update({"s": {"values": torch.tensor(1.0)}}, weight=64)
    states.update({"s": {"values": torch.tensor([4.0])}}, weight=32)
    assert states.compute() == {"s": 2.0}


@pytest.mark.parametrize("batch", BATCHES)
def test_values_per_example_weigh_one_each_even_in_a_batch_of_one(batch: int) -> None:
    values, _, _ = rows()  # 500 = 71 batches of 7 and a batch of 3
    values = values[:498] if batch == 7 else values  # a last batch of one
    value = evaluate(lambda v: metrics.from_value(v, "v"), batch, values)
    assert value == pytest.approx(float(values.double().mean()), rel=1e-9)


def test_a_tensor_that_is_not_per_example_is_refused() -> None:
    states = MetricSet({"s": metrics.from_value(torch.ones(10), "s")})
    with pytest.raises(DefinitionError, match=r"'s'.*\[10\].*64 examples"):
        states.update({"s": {"values": torch.ones(10)}}, weight=64)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_torchmetrics_class_is_made_once_and_sees_every_batch(batch: int) -> None:
    labels, predictions, _ = rows(kind="classes")
    arguments = {"task": "multiclass", "num_classes": 5, "average": "macro"}
    value = evaluate(
        lambda p, y: metrics.measure(torchmetrics.F1Score, p, y, **arguments),
        batch,
        predictions,
        labels,
    )
    assert value == pytest.approx(sk.f1_score(labels, predictions, average="macro"), abs=1e-6)


def test_torchmetrics_sums_are_float64_and_counts_stay_integers() -> None:
    values = torch.full((1000,), 0.1)
    op = metrics.measure(torchmetrics.MeanMetric, values)
    counts = metrics.measure(
        torchmetrics.ConfusionMatrix, values > 1, values > 1, task="multiclass", num_classes=2
    )
    states = MetricSet({"mean": op, "cells": counts})
    for _ in range(200):
        states.update({"mean": op.tensors, "cells": counts.tensors})
    result = states.compute()
    # Each batch is summed by torchmetrics in the float32 it is given; 200 of them do not drift.
    assert result["mean"] == pytest.approx(float(values.sum()) / 1000, abs=1e-12)
    assert result["cells"] == [[200_000, 0], [0, 0]]
    assert all(isinstance(cell, int) for row in result["cells"] for cell in row)


def test_a_failing_torchmetrics_update_names_the_metric_and_shapes() -> None:
    op = metrics.measure(torchmetrics.F1Score, torch.ones(3), torch.ones(4), task="binary")
    with pytest.raises(DefinitionError, match=r"(?s)'f'.*{'preds': \[3\], 'target': \[4\]}"):
        MetricSet({"f": op}).update({"f": op.tensors})


def test_a_dict_of_results_is_laid_out_by_name() -> None:
    class Extremes:
        def update(self, values: Tensor) -> None:
            self.values = values

        def compute(self) -> dict[str, Tensor]:
            return {"low": self.values.min(), "high": self.values.max()}

        def reset(self) -> None:
            del self.values

    op = metrics.measure(Extremes, torch.arange(3.0))
    states = MetricSet({"x": op})
    states.update({"x": op.tensors})
    assert states.compute() == {"x/low": 0.0, "x/high": 2.0}


def test_what_is_no_metric_is_refused_with_the_cure() -> None:
    with pytest.raises(DefinitionError, match="give the class"):
        metrics.measure(torchmetrics.MeanMetric(), torch.ones(1))
    with pytest.raises(DefinitionError, match=r"eval_metric_ops\['a'\].*metrics.measure\(Class"):
        metrics.from_value(torchmetrics.MeanMetric(), "a")
    with pytest.raises(DefinitionError, match=r"'a'.*update_op"):
        metrics.from_value((torch.ones(1), None), "a")
    with pytest.raises(DefinitionError, match=r"'a'\] is a str"):
        metrics.from_value("accuracy", "a")
    with pytest.raises(DefinitionError, match=r"metrics.accuracy: labels must be a tensor.*None"):
        metrics.accuracy(None, torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="dict, whose objects have no compute, reset"):
        MetricSet({"d": metrics.measure(dict, torch.ones(1))})
    with pytest.raises(DefinitionError, match="'f' could not be made"):
        MetricSet({"f": metrics.measure(torchmetrics.F1Score, torch.ones(1), task="binry")})
    with pytest.raises(DefinitionError, match="num_classes"):
        metrics.mean_per_class_accuracy(torch.ones(1), torch.ones(1), num_classes=0)
    with pytest.raises(DefinitionError, match="k must be"):
        metrics.sparse_top_k_accuracy(torch.ones(1), torch.ones(1, 2), k=0)


def test_names_that_come_and_go_are_refused() -> None:
    op = metrics.mean(torch.ones(2))
    states = MetricSet({"loss_a": op})
    with pytest.raises(DefinitionError, match=r"'loss_b'.*Did you mean 'loss_a'"):
        states.update({"loss_a": op.tensors, "loss_b": op.tensors})
    with pytest.raises(DefinitionError, match="'loss_a' got no tensors"):
        states.update({})


def test_metrics_keep_no_graph() -> None:
    values = torch.ones(3, requires_grad=True) * 2
    op = metrics.auc(torch.tensor([0, 1, 1]), values)
    states = MetricSet({"a": op, "m": metrics.mean(values)})
    states.update({"a": op.tensors, "m": {"values": values}})
    held = [t for s in states._states.values() for t in s.state_dict(keep_vars=True).values()]
    assert not any(t.requires_grad for t in held)
    assert states.compute()["m"] == 2.0


class Net(torch.nn.Module):
    """A forward that makes every kind of metric and hands out their tensors."""

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        p = x.sum(-1)
        ops = {
            "accuracy": metrics.accuracy(y, p > 0),
            "auc": metrics.auc(labels=y, predictions=p),
            "value": metrics.from_value(p, "value"),
            "scalar": metrics.from_value(p.mean(), "scalar"),
            "number": metrics.from_value(1.0, "number"),
            "f1": metrics.f1(y, p, weights=x[:, 0].abs()),
            "top": metrics.sparse_top_k_accuracy(y, x, 2),
            "classes": metrics.mean_per_class_accuracy(y, p, 2, weights=0.5),
            "measured": metrics.measure(torchmetrics.F1Score, p, y, task="binary"),
        }
        return {f"{n}/{k}": t for n, op in ops.items() for k, t in op.tensors.items()}


@pytest.mark.parametrize("way", ["compile", "export", "strict export"])
def test_metrics_are_made_under_tracers(way: str) -> None:
    x, y = torch.randn(6, 4), torch.randint(0, 2, (6,))
    net: Callable[..., dict[str, Tensor]] = Net()
    if way == "compile":
        traced = torch.compile(net, fullgraph=True, backend="eager")
    else:
        batch = torch.export.Dim("batch", min=2)
        exported = torch.export.export(
            Net(), (x, y), dynamic_shapes=({0: batch}, {0: batch}), strict="strict" in way
        )
        traced = exported.module()
    x, y = torch.randn(9, 4), torch.randint(0, 2, (9,))
    expected = net(x, y)
    result = traced(x, y)
    assert list(result) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(result[name], tensor)

"""The three ways in which a definition is called."""

from __future__ import annotations

from enum import StrEnum


class ModeKeys(StrEnum):
    """What a call of `model_fn` is for. The values are those of TensorFlow's Estimator.

    >>> ModeKeys.TRAIN == "train"
    True
    """

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"

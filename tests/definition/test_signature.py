"""Functions of the user, called with as many of the offered arguments as they declare."""

import functools

import pytest
import torch

from dovetail.definition.signature import Matched, where
from dovetail.errors import DefinitionError

OFFERED = ("features", "labels", "mode", "params")
VALUES = {name: name.upper() for name in OFFERED}


def refusal(function, offered=OFFERED, **settings):
    with pytest.raises(DefinitionError) as caught:
        Matched(function, offered, **settings)
    return str(caught.value)


def call(function, positional=0, settings=None, **kwargs):
    return Matched(function, OFFERED, positional=positional, **kwargs)(VALUES, settings)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda features: features, "FEATURES"),
        (lambda: "none", "none"),
        (lambda params, features: (params, features), ("PARAMS", "FEATURES")),
        (lambda *, mode: mode, "MODE"),
        (lambda features, **rest: (features, rest["mode"], len(rest)), ("FEATURES", "MODE", 3)),
        (lambda mode="x", params=None: (mode, params), ("MODE", "PARAMS")),
    ],
)
def test_arguments_are_given_by_name(function, expected):
    assert call(function) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda output, target: (output, target), ("FEATURES", "LABELS")),
        (lambda features, target: (features, target), ("FEATURES", "LABELS")),
        (lambda output, labels: (output, labels), ("FEATURES", "LABELS")),
        (lambda labels, features: (labels, features), ("LABELS", "FEATURES")),
        (lambda output, target, mode: (output, target, mode), ("FEATURES", "LABELS", "MODE")),
        (lambda output, /, target: (output, target), ("FEATURES", "LABELS")),
        (lambda *both: both, ("FEATURES", "LABELS")),
    ],
)
def test_the_first_arguments_may_have_other_names(function, expected):
    assert call(function, positional=2) == expected


def test_classes_and_callable_objects_are_matched_too():
    class Net:
        def __init__(self, params, width=3):
            self.got = params, width

        def __call__(self, labels):
            return labels

    assert call(Net).got == ("PARAMS", 3)
    assert call(Net(1)) == "LABELS"
    assert Matched(Net, OFFERED).defaults == {"width": 3}


def test_values_bound_by_partial_stand():
    def function(features, labels, mode, width):
        return features, labels, mode, width

    bound = functools.partial(function, mode="mine", width=3)
    assert call(bound) == ("FEATURES", "LABELS", "mine", 3)
    assert Matched(bound, OFFERED).defaults == {}
    assert call(functools.partial(lambda a, features: (a, features), 1)) == (1, "FEATURES")


def test_nothing_is_forced_on_a_class_without_a_constructor_of_its_own():
    class Net(torch.nn.Module):
        pass

    assert isinstance(call(Net), Net)


def test_own_parameters_with_defaults_are_settings():
    def function(features, width=3, *, deep=False):
        return features, width, deep

    matched = Matched(function, OFFERED, positional=1)
    assert matched.defaults == {"width": 3, "deep": False}
    assert matched(VALUES) == ("FEATURES", 3, False)
    assert matched(VALUES, {"width": 5}) == ("FEATURES", 5, False)


def test_settings_that_a_function_does_not_declare_are_not_passed():
    settings = {"width": 5, "other": 1, "features": "mine"}
    assert call(lambda features, width=3: (features, width), settings=settings) == ("FEATURES", 5)
    assert call(lambda features: features, settings=settings) == "FEATURES"


def test_a_default_is_never_replaced_by_an_offered_value_of_another_name():
    def loss(output, scale=2.0):
        return output, scale

    assert call(loss, positional=2) == ("FEATURES", 2.0)
    message = refusal(loss, positional=2, required=("features", "labels"), what="loss")
    assert "does not take 'labels'" in message


def test_an_argument_that_nobody_gives_is_named_with_function_and_line():
    def model_fn(features, label, mode):
        pass

    line = model_fn.__code__.co_firstlineno
    message = refusal(model_fn, what="model_fn")
    assert f"model_fn ({__file__}:{line}) wants an argument 'label'" in message
    assert "Did you mean 'labels'?" in message


def test_a_required_argument_is_asked_for():
    message = refusal(lambda mode: 0, required=("features",), what="model_fn")
    assert "does not take 'features', which it needs" in message
    assert "Expected model_fn(features, labels, mode, params); it takes (mode)" in message


def test_position_only_arguments_beyond_the_first_are_refused():
    def function(features, mode, /):
        pass

    assert "takes 'features' by position only" in refusal(function)
    assert "takes 'mode' by position only" in refusal(function, positional=1)


@pytest.mark.parametrize(
    ("value", "said"), [(3, "an int: 3."), (None, "None."), ("text", "a str: 'text'.")]
)
def test_what_is_no_function_is_refused(value, said):
    assert f"loss must be a function; it is {said}" in refusal(value, what="loss")


def test_a_function_without_a_signature_gets_what_goes_by_position():
    assert Matched(dict.fromkeys, ("a",), positional=1)({"a": "xy"}) in ({"x": None, "y": None},)
    assert Matched(max, ("a", "b"), positional=2)({"a": 1, "b": 2}) == 2


def test_places_are_given_as_far_as_they_are_known():
    def function():
        pass

    class Net:
        def __init__(self):
            pass

    here = f"({__file__}:"
    assert here in where(function)
    assert here in where(Net)
    assert here in where(functools.wraps(function)(lambda: 0))
    assert where(max) == "max"
    assert where(3) == "int"

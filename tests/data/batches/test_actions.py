"""Which methods are actions, and what is said of a name that is none."""

import pytest

from dovetail.data.batches.actions import (
    Action,
    UnknownActionError,
    action,
    actions_of,
    find_action,
)
from dovetail.data.batches.batch import Batch
from dovetail.data.batches.inbatch import inbatch_parallel
from dovetail.errors import DefinitionError


class Shapes(Batch):
    components = "images", "labels"

    @action
    def normalize(self):
        return self

    @action(model="vgg19", use_lock="vgg_lock")
    def train_classifier(self, vgg19):
        return self, vgg19

    @action
    @inbatch_parallel(init="images")
    def mark_outside(self, image): ...

    @inbatch_parallel(init="images")
    @action
    def mark_inside(self, image): ...

    def plain(self): ...


class Special(Shapes):
    def normalize(self):
        return self

    @action(use_lock=True)
    def extra(self):
        return self


def test_an_action_is_found_by_its_exact_name_with_model_and_lock():
    assert find_action(Shapes, "normalize") == Action()
    assert find_action(Shapes, "train_classifier") == Action("vgg19", "vgg_lock")
    assert find_action(Special, "extra") == Action(None, True)
    assert find_action(Special, "train_classifier").model == "vgg19"


def test_a_marked_method_is_called_as_before():
    batch = Shapes([1])
    assert batch.normalize() is batch
    assert batch.train_classifier("net") == (batch, "net")


def test_the_mark_counts_on_either_side_of_inbatch_parallel():
    assert find_action(Shapes, "mark_outside") == find_action(Shapes, "mark_inside") == Action()


def test_a_part_of_a_name_is_no_name():
    with pytest.raises(UnknownActionError):
        find_action(Shapes, "classifier")


def test_an_unknown_action_is_an_attribute_error_with_the_nearest():
    with pytest.raises(AttributeError, match=r"Shapes has no action 'normalise'. .*'normalize'"):
        find_action(Shapes, "normalise")
    with pytest.raises(UnknownActionError, match=r"It has .*mark_inside, mark_outside, normalize"):
        find_action(Shapes, "qqq")


def test_a_method_without_the_mark_is_no_action_and_the_cure_is_named():
    with pytest.raises(UnknownActionError, match="mark the method with @action"):
        find_action(Shapes, "plain")
    with pytest.raises(UnknownActionError, match="overrides an action without the mark"):
        find_action(Special, "normalize")
    with pytest.raises(UnknownActionError):
        find_action(Shapes, "components")


def test_all_actions_are_listed_inherited_ones_too():
    own = set(actions_of(Special)) - set(actions_of(Batch))
    assert own == {"train_classifier", "mark_outside", "mark_inside", "extra"}
    assert "apply" in actions_of(Special)


@pytest.mark.parametrize("options", [{"model": 3}, {"use_lock": 2.5}])
def test_arguments_of_a_wrong_type_are_refused(options):
    with pytest.raises(DefinitionError, match=next(iter(options))):
        action(**options)


def test_what_is_no_function_can_not_be_marked():
    with pytest.raises(DefinitionError, match=r"by keyword: @action\(model="):
        action("vgg19")

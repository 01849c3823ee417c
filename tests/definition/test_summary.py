"""Values recorded inside a model_fn."""

import pytest
import torch

from dovetail import layers, summary
from dovetail.errors import DefinitionError
from dovetail.layers.store import Store, entered


def test_values_are_recorded_by_kind_and_name_and_detached():
    x = torch.ones(5, 2, 2, 3, requires_grad=True)
    with entered(Store()) as frame:
        summary.scalar("mean", x.mean())
        summary.image("first", x, max_outputs=2)
        summary.histogram("all", x)
        summary.text("note", "naïve")
    assert set(frame.summaries) == {"scalar/mean", "image/first", "histogram/all", "text/note"}
    assert not any(value.requires_grad for value in frame.summaries.values())
    assert frame.summaries["image/first"].shape == (2, 2, 2, 3)
    assert bytes(frame.summaries["text/note"].tolist()).decode() == "naïve"


def test_values_of_blocks_are_the_model_fns():
    def block(x):
        summary.scalar("inner", x.mean())
        return x

    with entered(Store()) as frame:
        layers.block(layers.block, block, torch.ones(2))
    assert list(frame.summaries) == ["scalar/inner"]


@pytest.mark.parametrize("kind", ["scalar", "image", "histogram"])
def test_what_is_no_tensor_is_refused(kind):
    with pytest.raises(DefinitionError, match=rf"summary.{kind}\('a', ...\) takes a tensor"):
        with layers.scope():
            getattr(summary, kind)("a", 1.5)


def test_what_is_no_text_is_refused():
    with pytest.raises(DefinitionError, match="takes a text; it got a Tensor"), layers.scope():
        summary.text("a", torch.ones(1))


def test_outside_a_model_fn_nothing_is_recorded():
    with pytest.raises(DefinitionError, match="only be used inside a model_fn"):
        summary.scalar("a", torch.ones(()))

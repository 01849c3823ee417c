"""Pictures of what the model is fed."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dovetail import hooks
from dovetail.errors import ParamsError


def images(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {
        tag: [
            (e.step, np.asarray(Image.open(io.BytesIO(e.encoded_image_string))))
            for e in events.Images(tag)
        ]
        for tag in events.Tags()["images"]
    }


@pytest.fixture
def write(train, tmp_path):
    """Run the hook over one batch of features, in a training of its own."""

    def written(features, **given):
        class Fed(hooks.Images):
            def after_step(self, run, output):
                run.features = features
                super().after_step(run, output)

        return images(train(Fed(**given), steps=1, name=given.get("tag", "run")).folder)

    return written


def test_the_first_images_of_due_batches_are_written(train, input_fn):
    done = train(hooks.Images("photo", every_steps=10, max_images=2))
    found = images(done.folder)
    assert sorted(found) == ["input/photo/0", "input/photo/1"]
    batches = input_fn()
    for index, step in enumerate((1, 10, 20)):
        shown = found["input/photo/1"][index]
        assert shown[0] == step
        np.testing.assert_array_equal(shown[1], batches[step - 1][0]["photo"][1])


def test_the_one_feature_that_is_an_image_is_found(train):
    assert "input/photo/0" in images(train(hooks.Images(), steps=1).folder)


def test_channels_first_and_grey_images_are_turned(write):
    photos = np.random.default_rng(0).integers(0, 255, (2, 3, 6, 5), np.uint8)
    shown = write({"photo": torch.from_numpy(photos)}, tag="first")["first/0"][0][1]
    np.testing.assert_array_equal(shown, photos[0].transpose(1, 2, 0))


def test_an_image_without_channels_is_grey(write):
    grey = np.random.default_rng(0).integers(0, 255, (2, 6, 5), np.uint8)
    shown = write({"a": torch.zeros(2, 7), "grey": grey})["input/grey/1"][0][1]
    np.testing.assert_array_equal(shown, grey[1])


def test_floats_in_zero_to_one_stay_and_others_are_stretched(write):
    unit = np.full((1, 2, 2, 1), 0.5, np.float32)
    assert (write(torch.from_numpy(unit), tag="unit")["unit/0"][0][1] == 128).all()
    wide = np.array([-2.0, 0.0, 2.0, 2.0], np.float32).reshape(1, 2, 2, 1)
    shown = write(torch.from_numpy(wide).bfloat16(), tag="wide")["wide/0"][0][1]
    assert shown.reshape(-1).tolist() == [0, 128, 255, 255]


def test_a_feature_that_is_no_image_is_an_error_that_lists_shapes(train):
    with pytest.raises(
        ParamsError, match=r"'phto' is no feature .* Did you mean 'photo'.*'x' \[8,"
    ):
        train(hooks.Images("phto"))
    with pytest.raises(ParamsError, match="'x' is no feature with images"):
        train(hooks.Images("x"), name="b")


def test_several_images_must_be_told_apart(write):
    with pytest.raises(ParamsError, match="2 features are images"):
        write({"a": torch.zeros(2, 4, 4, 1), "b": torch.zeros(2, 4, 4, 1)})


def test_the_data_format_is_one_of_three():
    with pytest.raises(
        ParamsError, match="data_format='channel_last'.* Did you mean 'channels_last'"
    ):
        hooks.Images(data_format="channel_last")

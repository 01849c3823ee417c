"""Pictures of what the model is fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from dovetail.errors import ParamsError, nearest
from dovetail.hooks.arguments import whole
from dovetail.hooks.due import Due
from dovetail.hooks.event_log import writer_of
from dovetail.run.hooks import Hook, Run

DataFormat = Literal["auto", "channels_last", "channels_first"]


class Images(Hook):
    """Writes the first images of a batch to the event log, as the model gets them from the input.

    uint8 is written as it is; floating point in [0, 1] too, and other ranges (of an input that is
    normalised, say) are stretched between the least and the greatest value of each image. Costs a
    division at each step; a point costs the encoding of the images, 10 ms or more for each of
    256 x 256.

    Args:
      feature: its name among the features; None where there is one that is an image.
      every_steps: write at step 1 and every multiple of it; 500.
      every_secs: instead, write once in so many seconds.
      max_images: how many of a batch; 4.
      data_format: "channels_last", "channels_first", or "auto": where 1, 3 or 4 stands.
      tag: their name in the event log; "input/<feature>" by default.

    Raises:
      ParamsError: an argument is out of range, the hook is given to an evaluation, or at the first
        step the feature is not there or no image.

    Example:
      >>> Images("photo", max_images=8).max_images
      8
    """

    def __init__(
        self,
        feature: str | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        max_images: int = 4,
        data_format: DataFormat = "auto",
        tag: str | None = None,
    ) -> None:
        known = get_args(DataFormat)
        if data_format not in known:
            raise ParamsError(
                f"hooks.Images: data_format={data_format!r}; it must be one of "
                f"{', '.join(map(repr, known))}.{nearest(str(data_format), known)}"
            )
        self.feature = feature
        self.max_images = whole("Images", "max_images", max_images, 1)
        self.data_format: DataFormat = data_format
        self.tag = tag
        self._due = Due("Images", every_steps, every_secs, by_default=500)

    def begin(self, run: Run) -> None:
        self._due.begin()
        writer_of(run, "Images")

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if not self._due.after(run):
            return
        name, value = self._found(run.features)
        images = _last(_array(value[: self.max_images]), self.data_format)
        assert images is not None
        tag = self.tag or f"input/{name}"
        writer_of(run, "Images").image(tag, _shown(images), run.step, max_images=self.max_images)

    def _found(self, features: Any) -> tuple[str, Any]:
        if not isinstance(features, Mapping):
            features = {self.feature or "image": features}
        shapes: dict[str, list[int]] = {
            name: list(getattr(value, "shape", ())) for name, value in features.items()
        }
        there = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items())
        images = [name for name in features if _is_image(shapes[name], self.data_format)]
        if self.feature is None:
            if len(images) != 1:
                raise ParamsError(
                    f"hooks.Images: {len(images)} features are images of [batch, height, width, "
                    f"channels] or [batch, channels, height, width]; say which: Images('...'). The "
                    f"features are {there}."
                )
            return images[0], features[images[0]]
        if self.feature not in images:
            raise ParamsError(
                f"hooks.Images: '{self.feature}' is no feature with images of [batch, height, "
                "width], or with 1, 3 or 4 channels last or first."
                f"{nearest(self.feature, images)} The features are {there}."
            )
        return self.feature, features[self.feature]


def _is_image(shape: list[int], data_format: DataFormat) -> bool:
    return (
        len(shape) in (3, 4)
        and 0 not in shape
        and (len(shape) == 3 or _channels(shape, data_format) is not None)
    )


def _channels(shape: list[int], data_format: DataFormat) -> int | None:
    """Return which dimension of four holds 1, 3 or 4 channels."""
    places = {"channels_last": (3,), "channels_first": (1,), "auto": (3, 1)}[data_format]
    return next((place for place in places if shape[place] in (1, 3, 4)), None)


def _last(images: Any, data_format: DataFormat) -> Any:
    """Return images with their channels last."""
    import numpy as np

    if images.ndim == 3:
        return images[..., None]
    place = _channels(list(images.shape), data_format)
    return np.moveaxis(images, 1, -1) if place == 1 else images


def _array(value: Any) -> Any:
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def _shown(images: Any) -> Any:
    """Stretch each floating-point image that leaves [0, 1] to it."""
    import numpy as np

    if images.dtype.kind != "f":
        return images
    images = np.nan_to_num(images.astype(np.float32), posinf=0.0, neginf=0.0)
    least = images.min(axis=(1, 2, 3), keepdims=True)
    most = images.max(axis=(1, 2, 3), keepdims=True)
    outside = (least < 0) | (most > 1)
    return np.where(outside, (images - least) / np.maximum(most - least, 1e-12), images)

"""Curves, images, histograms and text for TensorBoard, without overlap after a resume.

Each call writes whole records and hands them to the operating system, so a killed run leaves at
most one record cut short. A resumed run opens its writer with the step of the checkpoint that it
goes on from: what was written after that step is dropped first, since it will be written again.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsFloat

from dovetail.errors import DataError, DovetailError, StorageError
from dovetail.run.event_files import read_scalars as read_scalars
from dovetail.run.event_files import rewind
from dovetail.run.event_protos import (
    DT_STRING,
    Event,
    HistogramProto,
    SessionLog,
    Summary,
    SummaryMetadata,
    TensorProto,
)
from dovetail.run.event_writer import EventFile

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SummaryWriter", "read_scalars"]

_HISTOGRAM_BUCKETS = 30
_FULL = (errno.ENOSPC, errno.EDQUOT)


class SummaryWriter:
    """Writes one event file in a folder.

    Args:
      folder: made if it is not there.
      start_step: the global step that the run goes on from; events of later steps in the folder
        are dropped first. None drops nothing.
      replace_step: events of this step are dropped first (an evaluation that is done again).
      note: is told, once, where something can't be written later on; the points are lost then,
        and what follows is written again as soon as it can be. None: that is an error.

    Raises:
      DovetailError: the folder or a file in it can't be written.
      StorageError: the disk is full; without `note` that may be at any call.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SummaryWriter(folder, start_step=0) as writer:
    ...         writer.scalars({"loss": 0.5}, step=1)
    ...         writer.scalars({"loss": 0.25}, step=2)
    ...     with SummaryWriter(folder, start_step=1) as writer:
    ...         writer.scalars({"loss": 0.125}, step=2)
    ...     read_scalars(folder)
    {'loss': [(1, 0.5), (2, 0.125)]}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        start_step: int | None = None,
        *,
        replace_step: int | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._note = note
        self._lost = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if start_step is not None:
                rewind(self.folder, lambda step: step <= start_step)
            if replace_step is not None:
                rewind(self.folder, lambda step: step != replace_step)
            self._file = EventFile(self.folder)
        except OSError as error:
            kind = StorageError if error.errno in _FULL else DovetailError
            raise kind(
                f"Can't write summaries to {self.folder}: {error}. "
                "Check its permissions and the disk, or name another model_dir."
            ) from error
        self.path = self._file.path
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if start_step is not None:
            # For a TensorBoard that is open and has already read what was dropped.
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def scalars(self, values: Mapping[str, SupportsFloat], step: int) -> None:
        """Write one point of each curve.

        Args:
          values: tag -> a number, or a tensor or array of one element; stored as float32.
          step: the global step.
        """
        entries = [
            Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()
        ]
        if entries:
            self._summary(entries, step)

    def image(self, tag: str, image: Any, step: int, *, max_images: int = 3) -> None:
        """Write an image, or the first of a batch of them.

        Args:
          tag: its name; images of a batch are `tag/0`, `tag/1`, ...
          image: a tensor or array [height, width], [height, width, channels] or [batch, height,
            width, channels] of 1, 3 or 4 channels; uint8, or floating point in [0, 1].
          step: the global step.
          max_images: how many of a batch are written.

        Raises:
          DataError: it has another shape.
        """
        array = _array(image)
        if array.ndim == 2:
            array = array[:, :, None]
        if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
            raise DataError(
                f"summary.image {tag!r} has shape {list(array.shape)}; expected [height, width], "
                "[height, width, channels] or [batch, height, width, channels] with 1, 3 or 4 "
                "channels (a channels-first tensor needs .movedim(-3, -1))."
            )
        if array.ndim == 3:
            named = {tag: array}
        else:
            named = {f"{tag}/{i}": one for i, one in enumerate(array[:max_images])}
        entries = [Summary.Value(tag=name, image=_image(one)) for name, one in named.items()]
        self._summary(entries, step)

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write the distribution of finite values; if others occur, their number as a curve.

        Args:
          tag: its name; the curve is `tag/not_finite`.
          values: a tensor or array of numbers, any shape.
          step: the global step.
        """
        import numpy as np

        array = _array(values).astype(np.float64).ravel()
        finite = array[np.isfinite(array)]
        entries = []
        if finite.size:
            entries.append(Summary.Value(tag=tag, histo=_histogram(finite)))
        if finite.size < array.size:
            lost = float(array.size - finite.size)
            entries.append(Summary.Value(tag=f"{tag}/not_finite", simple_value=lost))
        if entries:
            self._summary(entries, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Write text, which TensorBoard shows as Markdown."""
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        tensor = TensorProto(dtype=DT_STRING, string_val=[str(text).encode()], tensor_shape={})
        metadata = SummaryMetadata(plugin_data=plugin)
        self._summary([Summary.Value(tag=tag, metadata=metadata, tensor=tensor)], step)

    def graph(self, graph: Any) -> None:
        """Write a model's graph, a GraphDef as `run.event_graph` makes it; a folder holds one."""
        self._write(Event(wall_time=time.time(), graph_def=graph.SerializeToString()))

    def values(self, entries: Sequence[Any], step: int) -> None:
        """Write summary values that were made elsewhere, such as a session of HPARAMS."""
        self._summary(list(entries), step)

    def flush(self) -> None:
        """Do nothing: everything is handed to the operating system at once."""

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _summary(self, entries: list[Any], step: int) -> None:
        summary = Summary(value=entries)
        self._write(Event(wall_time=time.time(), step=int(step), summary=summary))

    def _write(self, event: Any) -> None:
        try:
            self._file.write(event)
        except OSError as error:
            text = f"Summaries can't be written to {self.path}: {error.strerror or error}."
            if self._note is None:
                raise StorageError(
                    f"{text} Make room, then do the same again: what was written is whole."
                ) from error
            if not self._lost:
                self._note(f"{text} The run goes on; points of its curves are lost until it can.")
            self._lost += 1


def _array(value: Any) -> np.ndarray:
    """Return a tensor (on any device, of any dtype) or anything array-like as a numpy array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point():
            value = value.double()  # numpy has no bfloat16
        value = value.numpy()
    return np.asarray(value)


def _image(array: np.ndarray) -> Any:
    import io

    import numpy as np
    from PIL import Image

    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = np.round(np.nan_to_num(np.clip(array, 0, 1)) * 255).astype(np.uint8)
    else:
        array = np.clip(array, 0, 255).astype(np.uint8)
    height, width, channels = array.shape
    encoded = io.BytesIO()
    Image.fromarray(array[:, :, 0] if channels == 1 else array).save(encoded, format="PNG")
    return Summary.Image(
        height=height,
        width=width,
        colorspace=channels,
        encoded_image_string=encoded.getvalue(),
    )


def _histogram(values: np.ndarray) -> Any:
    import numpy as np

    counts, edges = np.histogram(values, bins=_HISTOGRAM_BUCKETS)
    # Buckets are known by their right edges; an empty first one holds the leftmost edge.
    return HistogramProto(
        min=float(values.min()),
        max=float(values.max()),
        num=float(values.size),
        sum=float(values.sum()),
        sum_squares=float(np.square(values).sum()),
        bucket_limit=edges.tolist(),
        bucket=[0.0, *counts.tolist()],
    )

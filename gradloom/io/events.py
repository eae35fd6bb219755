"""``SummaryWriter``: scalars, histograms, images, figures and text into a folder that TensorBoard watches."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from gradloom.errors import ShapeError
from gradloom.io.event_records import blob, double, doubles, event, fixed, number, png, record, text
from gradloom.tensor import Tensor

__all__ = ["SummaryWriter"]

_count = itertools.count()


class SummaryWriter:
    """Write a log for TensorBoard.

    Parameters
    ----------
    log_dir: the folder; ``runs/<date>_<host><comment>`` by default. comment: the end of that name. max_queue: records
    kept before they are written. flush_secs: the longest that they are kept. filename_suffix: the end of the file's
    name. purge_step: records from this step on, of an earlier run in the folder, are told to be hidden.

    Raises OSError where the folder cannot be written to.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        host = socket.gethostname()
        if log_dir is None:
            log_dir = Path("runs") / f"{time.strftime('%b%d_%H-%M-%S')}_{host}{comment}"
        self.log_dir = str(log_dir)
        self._queue_size, self._flush_secs = max_queue, flush_secs
        self._suffix = filename_suffix
        self._lock = threading.Lock()
        self._queue: list[bytes] = []
        self._last = time.monotonic()
        self._others: dict[str, SummaryWriter] = {}
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{host}.{os.getpid()}.{next(_count)}{filename_suffix}"
        self._file: Any = (folder / name).open("ab")
        self._put(event(time.time(), None, version="brain.Event:2"))
        if purge_step is not None:  # a session that starts: what came later is no longer so
            self._put(event(time.time(), purge_step) + blob(7, number(1, 1)))
        self.flush()

    def _put(self, data: bytes) -> None:
        with self._lock:
            if self._file is None:
                raise ValueError("this SummaryWriter is closed")
            self._queue.append(record(data))
            late = time.monotonic() - self._last > self._flush_secs
            if len(self._queue) > self._queue_size or late:
                self._write()

    def _write(self) -> None:
        self._file.write(b"".join(self._queue))
        self._file.flush()
        self._queue.clear()
        self._last = time.monotonic()

    def _summary(self, tag: str, value: bytes, step: int | None, wall: float | None, metadata: bytes = b"") -> None:
        body = text(1, tag) + value + (blob(9, metadata) if metadata else b"")
        self._put(event(time.time() if wall is None else wall, step, summary=blob(1, body)))

    # -- what is logged -------------------------------------------------------------------------------------
    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number. new_style: as a tensor, double_precision: of 64 bits."""
        x = float(_array(scalar_value).reshape(-1)[0]) if np.size(_array(scalar_value)) == 1 else _refuse(tag)
        if new_style or double_precision:
            data = number(1, 2 if double_precision else 1) + blob(2, b"")
            data += doubles(6, [x]) if double_precision else blob(5, np.float32(x).tobytes())
            plugin = blob(1, text(1, "scalars"))
            self._summary(tag, blob(8, data), global_step, walltime, plugin)
        else:
            self._summary(tag, fixed(2, x), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Several numbers in one chart: each is a run of its own, in a folder beside."""
        for name, value in tag_scalar_dict.items():
            key = f"{main_tag.replace('/', '_')}_{name}"
            if key not in self._others:
                self._others[key] = SummaryWriter(
                    Path(self.log_dir) / key, max_queue=self._queue_size, flush_secs=self._flush_secs,
                    filename_suffix=self._suffix,
                )  # fmt: skip
            self._others[key].add_scalar(main_tag, value, global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How values are spread. bins: TensorBoard's own (in steps of a tenth), or what ``numpy.histogram`` takes."""
        x = _array(values).astype(np.float64).reshape(-1)
        if not x.size or not np.isfinite(x).all():
            raise ValueError(f"add_histogram: {tag!r}: values must be there, and finite")
        if isinstance(bins, str) and bins == "tensorflow":
            up = 1e-12 * 1.1 ** np.arange(776)
            bins = np.concatenate([-up[::-1], [0.0], up])
        counts, edges = np.histogram(x, bins)
        if max_bins is not None and len(counts) > max_bins:
            step = -(-len(counts) // max_bins)
            counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
            edges = np.append(edges[:-1:step], edges[-1])
        used = np.flatnonzero(counts)
        if len(used):  # the empty bucket before the first is kept: it says where the first begins
            first, last = used[0], used[-1] + 1
            limits, kept = edges[first : last + 1], np.concatenate([[0], counts[first:last]])
        else:
            limits, kept = edges[:1], np.zeros(1)
        data = (
            double(1, x.min()) + double(2, x.max()) + double(3, x.size) + double(4, x.sum()) + double(5, (x * x).sum())
        )
        self._summary(tag, blob(5, data + doubles(6, limits) + doubles(7, kept)), global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """One image: uint8 in 0 to 255, or floating in 0 to 1, with the axes that ``dataformats`` names.

        Raises ShapeError where the axes do not fit, or there are not 1, 3 or 4 channels.
        """
        pixels = _pixels(tag, _array(img_tensor), dataformats)
        height, width, channels = pixels.shape
        data = number(1, height) + number(2, width) + number(3, channels) + blob(4, png(pixels))
        self._summary(tag, blob(4, data), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """A batch of images in one row after the other, eight in a row."""
        a = _array(img_tensor)
        if a.ndim != 4 or sorted(dataformats.upper()) != sorted("NCHW"):
            raise ShapeError(f"add_images: {tag!r} of shape {a.shape} is not {dataformats}", code="shape.image")
        a = a.transpose([dataformats.upper().index(k) for k in "NHWC"])
        n, h, w, c = a.shape
        columns = min(8, n)
        rows = -(-n // columns)
        grid = np.zeros((rows * columns, h, w, c), a.dtype)
        grid[:n] = a
        grid = grid.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)
        self.add_image(tag, grid, global_step, walltime, "HWC")

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """A figure of matplotlib, or a list of them, as images; closed afterwards."""
        figures = figure if isinstance(figure, list) else [figure]
        images = []
        for f in figures:
            f.canvas.draw()
            images.append(np.asarray(f.canvas.buffer_rgba())[..., :3])
        if close:
            from matplotlib import pyplot

            for f in figures:
                pyplot.close(f)
        if isinstance(figure, list):
            self.add_images(tag, np.stack(images), global_step, walltime, "NHWC")
        else:
            self.add_image(tag, images[0], global_step, walltime, "HWC")

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text; TensorBoard shows it as Markdown."""
        shape = blob(2, blob(2, number(1, 1)))
        data = number(1, 7) + shape + blob(8, text_string.encode())
        self._summary(f"{tag}/text_summary", blob(8, data), global_step, walltime, blob(1, text(1, "text")))

    # -- the end --------------------------------------------------------------------------------------------
    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            if self._file is not None:
                self._write()
        for w in self._others.values():
            w.flush()

    def close(self) -> None:
        """Write what waits, and close the files."""
        self.flush()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
        for w in self._others.values():
            w.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _refuse(tag: str) -> float:
    raise ShapeError(
        f"add_scalar: {tag!r} is more than one number", code="shape.item", hint="reduce it, or add_histogram"
    )


def _array(x: Any) -> np.ndarray:
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _pixels(tag: str, a: np.ndarray, axes: str) -> np.ndarray:
    axes = axes.upper()
    if sorted(axes) not in (["C", "H", "W"], ["H", "W"]) or a.ndim != len(axes):
        raise ShapeError(
            f"add_image: {tag!r} of shape {a.shape} is not {axes}",
            code="shape.image",
            hint="pass dataformats='HWC' or 'HW'",
        )
    a = a[..., None] if "C" not in axes else a.transpose([axes.index(k) for k in "HWC"])
    if a.shape[2] not in (1, 3, 4):
        raise ShapeError(
            f"add_image: {tag!r} has {a.shape[2]} channels, expected 1, 3 or 4", code="shape.image",
            hint="pass dataformats= with the axes in the order they have",
        )  # fmt: skip
    if a.dtype != np.uint8:
        a = np.clip(np.asarray(a, np.float32) * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(a)

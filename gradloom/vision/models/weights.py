"""Trained weights by name: where they are fetched from, what checks them, and how images are prepared for them.

A file's name ends in the first eight digits of its SHA-256; a fetched file that has others is refused. Files are read
as data only (:func:`gradloom.io.files.load`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from gradloom.datasets.cache import atomic_write
from gradloom.datasets.download import DownloadError, file_digest
from gradloom.io.files import load
from gradloom.nn.module import Module
from gradloom.paths import cache_folder
from gradloom.vision.models.published import ADDRESS, PUBLISHED

__all__ = ["Weights", "WeightsEnum", "load_into", "load_state_dict_from_url", "named", "resolve"]

_TRACKED = "num_batches_tracked"  # missing in files older than the buffer


class Weights:
    """One file of weights: its address, what it was trained on, and the transforms that its images need.

    Attributes
    ----------
    url : the address. meta : ``categories``, the names of the classes, and ``num_params``.
    """

    def __init__(self, url: str, preset: Mapping[str, Any], num_params: int) -> None:
        self.url, self._preset, self._num_params = url, dict(preset), num_params

    def __repr__(self) -> str:
        return f"Weights({self.url.rpartition('/')[2]})"

    def transforms(self, **options: Any) -> Callable[[Any], Any]:
        """What turns a picture into the model's input; options override the recorded ones."""
        from gradloom.vision.transforms.presets import ImageClassification

        return ImageClassification(**{**self._preset, **options})

    @property
    def meta(self) -> dict[str, Any]:
        """What is known about the weights."""
        from gradloom.vision.models.imagenet import categories

        return {"categories": categories(), "num_params": self._num_params}

    @property
    def crop_size(self) -> int:
        """The side of the square that the transforms cut out."""
        return self._preset["crop_size"]

    @staticmethod
    def has(model: str) -> bool:
        """Whether there are weights for a model."""
        return model in PUBLISHED


class WeightsEnum(Enum):
    """The weights of one model by name; ``DEFAULT`` is another name for the best."""

    @property
    def url(self) -> str:
        """Where the file is."""
        return self.value.url

    @property
    def meta(self) -> dict[str, Any]:
        """See :class:`Weights`."""
        return self.value.meta

    def transforms(self, **options: Any) -> Callable[[Any], Any]:
        """See :meth:`Weights.transforms`."""
        return self.value.transforms(**options)

    def get_state_dict(self, *, progress: bool = True, check_hash: bool = True) -> dict[str, Any]:
        """The weights, fetched into the cache folder unless they are there. Raises DownloadError."""
        return load_state_dict_from_url(self.url, progress=progress, check_hash=check_hash)

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


@cache
def named(model: str) -> type[WeightsEnum]:
    """The enumeration of a model's weights. Raises ValueError where there are none."""
    if model not in PUBLISHED:
        raise ValueError(f"{model} has no published weights; give a path or a state dict as weights=")
    group, num_params, rows = PUBLISHED[model]
    entries = {n: Weights(ADDRESS + file, preset, *(own or [num_params])) for n, file, preset, *own in rows}
    entries["DEFAULT"] = entries[rows[-1][0]]  # an alias
    return WeightsEnum(group, entries, module=__name__)  # type: ignore[return-value, call-arg]


def resolve(model: str, weights: Any) -> WeightsEnum | Mapping[str, Any] | None:
    """What ``weights=`` means for a model: None, an entry of its enumeration, or a state dict, read from a file.

    Raises
    ------
    ValueError : a name that is none of the model's, or an entry of another model's enumeration.
    FileNotFoundError : a path where no file is.
    TypeError : anything else.
    """
    if weights is None or isinstance(weights, Mapping):
        return weights
    if isinstance(weights, WeightsEnum):
        if not Weights.has(model) or type(weights) is not named(model):
            raise ValueError(f"{weights} are not weights of {model}")
        return weights
    if isinstance(weights, str):
        entries = named(model).__members__ if Weights.has(model) else {}
        group, _, entry = weights.rpartition(".")
        if entry in entries and (not group or group == named(model).__name__):
            return entries[entry]
        if not os.path.exists(weights) and not Path(weights).suffix and os.sep not in weights:
            known = ", ".join(map(repr, entries)) or "none"
            raise ValueError(f"{model} has no weights {weights!r}; names: {known}; or give a path or a state dict")
    if isinstance(weights, str | os.PathLike):
        return load(weights)
    raise TypeError(
        f"weights is None, a name, an entry of an enumeration, a path or a state dict; got {type(weights).__name__}"
    )


def load_into(model: Module, state: Mapping[str, Any]) -> None:
    """Load a state dict, with old files' names brought to today's. Raises StateError where it does not fit."""
    renamed = getattr(model, "renamed", dict)(state)
    for name, value in model.state_dict().items():
        if name.endswith(_TRACKED):
            renamed.setdefault(name, value)
    model.load_state_dict(renamed)


def load_state_dict_from_url(
    url: str, model_dir: str | os.PathLike[str] | None = None, *, progress: bool = True, check_hash: bool = True,
    file_name: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A state dict from an address, kept in a folder (``models`` of the cache unless given) and found there again.

    Parameters
    ----------
    check_hash : compare the file's SHA-256 with the digits at the end of its name, ``resnet18-f37072fd.pth``.
    progress : show how far the transfer is.

    Raises
    ------
    DownloadError : the place cannot be reached, or what came is not the file. ValueError : a name without digits to
        check; pass ``check_hash=False``.
    """
    name = file_name or url.rstrip("/").rpartition("/")[2]
    digits = Path(name).stem.rpartition("-")[2]
    if check_hash and (len(digits) < 8 or set(digits) - set("0123456789abcdef")):
        raise ValueError(f"{name!r} does not end in digits of its SHA-256; pass check_hash=False to take it unchecked")
    path = (Path(model_dir) if model_dir is not None else cache_folder("models")) / name
    if not path.is_file() or (check_hash and not file_digest(path).startswith(digits)):
        _fetch(url, path, digits if check_hash else "", progress)
    return load(path)


def _fetch(url: str, path: Path, digits: str, progress: bool) -> None:
    """Bring a file whose SHA-256 begins with the digits to ``path``; nothing is left there otherwise."""
    import hashlib
    import urllib.request

    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    try:
        with (
            urllib.request.urlopen(url, timeout=30) as answer,
            atomic_write(path) as file,
            Progress(
                *Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn(), disable=not progress
            ) as bar,
        ):
            length = answer.headers.get("Content-Length")
            task = bar.add_task(path.name, total=int(length) if length else None)
            found, done = hashlib.sha256(), 0
            while chunk := answer.read(1 << 18):
                file.write(chunk)
                found.update(chunk)
                done += len(chunk)
                bar.update(task, completed=done)
            if length and done != int(length):
                raise DownloadError(f"{url} broke off, {int(length) - done} bytes missing")
            if not found.hexdigest().startswith(digits):
                raise DownloadError(f"{url}: wrong content, SHA-256 {found.hexdigest()} does not begin with {digits}")
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"could not fetch {url} ({error}). Put the file at {path} yourself, or give its path as weights="
        ) from error

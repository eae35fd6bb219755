"""Shards: tar files whose members of one name are a sample, read one after the other as fast as the disk gives them.

    write_shards(samples, "train-{:05d}.tar")          # {"jpg": bytes, "cls": 3} and the like
    DataLoader(ShardDataset("train-*.tar").map(…), 32, num_workers=4)

This is the layout that WebDataset made common: `000017.jpg` and `000017.cls` are the parts of sample 000017.
"""

from __future__ import annotations

import glob
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.data.dataset import IterableDataset
from gradloom.data.fetch import get_worker_info
from gradloom.data.random import rng, seed_of
from gradloom.errors import FileError
from gradloom.io.pictures import pillow
from gradloom.tensor import Tensor


def _encoded(kind: str, value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    if kind == "npy":
        out = io.BytesIO()
        np.save(out, np.asarray(value), allow_pickle=False)
        return out.getvalue()
    if kind == "json":
        return json.dumps(value, ensure_ascii=False).encode()
    if kind in ("txt", "cls", "id", "index"):
        return str(value).encode()
    raise TypeError(
        f"part {kind!r} must be bytes; json, npy, txt and cls are made of values: got {type(value).__name__}"
    )


def _picture(data: bytes) -> np.ndarray:
    return np.array(pillow().open(io.BytesIO(data)).convert("RGB"))


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "cls": int, "id": int, "index": int, "txt": bytes.decode, "json": json.loads,
    "npy": lambda data: np.load(io.BytesIO(data), allow_pickle=False),
    "jpg": _picture, "jpeg": _picture, "png": _picture,
}  # fmt: skip


def write_shards(samples: Iterable[Mapping[str, Any]], pattern: str, size: int = 1000) -> list[Path]:
    """Write samples into tar files of `size` samples each.

    Parameters
    ----------
    samples : dicts from a part's ending to its value: bytes; or a value for "json", "npy", "txt", "cls". "__key__"
        names the sample; its number unless given.
    pattern : path with a place for the shard's number, as in "train-{:05d}.tar"

    Returns
    -------
    list of Path
        The files, each of which appeared whole.
    """
    if pattern.format(0) == pattern.format(1):
        raise ValueError(f'pattern needs a place for the number of the shard, as "train-{{:05d}}.tar"; got {pattern!r}')
    if size <= 0:
        raise ValueError(f"size must be positive, got {size}")
    written: list[Path] = []
    chunk: list[tuple[str, Mapping[str, Any]]] = []

    def close() -> None:
        path = Path(pattern.format(len(written)))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + f".{os.getpid()}")
        try:
            with tarfile.open(beside, "w") as tar:
                for key, sample in chunk:
                    for kind, value in sample.items():
                        if kind == "__key__":
                            continue
                        data = _encoded(kind.rsplit(".", 1)[-1], value)
                        member = tarfile.TarInfo(f"{key}.{kind}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        written.append(path)
        chunk.clear()

    for number, sample in enumerate(samples):
        chunk.append((str(sample.get("__key__", f"{number:09d}")), sample))
        if len(chunk) == size:
            close()
    if chunk:
        close()
    return written


class ShardDataset(IterableDataset):
    """Samples of tar files, as dicts from a part's ending to its value, with "__key__".

    Workers of a loader share the files among them; so do the processes of a distributed run, told by `num_replicas` and
    `rank`.

    Parameters
    ----------
    paths : pattern of files, or a list of files
    shuffle : int
        Size of the buffer that samples are drawn from; files come in a random order too. 0: in order.
    decode : bool or dict
        Whether known parts become values: cls, json, txt, npy, jpg, png. A dict gives more of them, by ending.
    seed : int, optional
        Of the order; the global seed unless given.

    Raises
    ------
    FileError
        Where no file fits, and for a file that is broken: with its name.
    """

    def __init__(
        self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], shuffle: int = 0,
        decode: bool | Mapping[str, Callable[[bytes], Any]] = True, num_replicas: int = 1, rank: int = 0,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        found = (
            sorted(glob.glob(os.fspath(paths)))
            if isinstance(paths, (str, os.PathLike))
            else [os.fspath(p) for p in paths]
        )
        if not found:
            raise FileError(f"no file fits {paths!r}", code="file.missing", hint="check the path")
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be in 0 <= rank < num_replicas, got {rank} of {num_replicas}")
        self.paths, self.shuffle, self.seed = found, shuffle, seed
        self.decoders = {} if decode is False else {**DECODERS, **(decode if isinstance(decode, Mapping) else {})}
        self.num_replicas, self.rank, self.epoch = num_replicas, rank, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass takes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        part, parts = (0, 1) if info is None else (info.id, info.num_workers)
        draw = rng(seed_of(self.seed), self.epoch, 20)
        order = draw.permutation(len(self.paths)) if self.shuffle else np.arange(len(self.paths))
        mine = order[self.rank :: self.num_replicas][part::parts]
        samples = (sample for k in mine.tolist() for sample in self._samples(self.paths[k]))
        return self._mixed(samples, rng(seed_of(self.seed), self.epoch, 21 + part)) if self.shuffle else samples

    def _mixed(self, samples: Iterator[dict[str, Any]], draw: np.random.Generator) -> Iterator[dict[str, Any]]:
        buffer: list[dict[str, Any]] = []
        for sample in samples:
            if len(buffer) < self.shuffle:
                buffer.append(sample)
                continue
            place = int(draw.integers(len(buffer)))
            out, buffer[place] = buffer[place], sample
            yield self._decoded(out)
        for place in draw.permutation(len(buffer)).tolist():
            yield self._decoded(buffer[place])

    def _samples(self, path: str) -> Iterator[dict[str, Any]]:
        sample: dict[str, Any] = {}
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, name = os.path.split(member.name)
                    stem, _, kind = name.partition(".")
                    key = os.path.join(folder, stem)
                    if sample and sample["__key__"] != key:
                        yield sample if self.shuffle else self._decoded(sample)
                        sample = {}
                    file = tar.extractfile(member)
                    sample["__key__"] = key
                    sample[kind] = b"" if file is None else file.read()
        except (tarfile.TarError, EOFError, OSError) as error:
            raise FileError(f"{path} is not a whole tar file: {error}", code="file.shard") from error
        if sample:
            yield sample if self.shuffle else self._decoded(sample)

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        out = {}
        for kind, value in sample.items():
            decode = None if kind == "__key__" else self.decoders.get(kind.rsplit(".", 1)[-1])
            try:
                out[kind] = value if decode is None else decode(value)
            except (ValueError, OSError) as error:
                raise FileError(f"part {kind!r} of sample {sample['__key__']!r}: {error}", code="file.shard") from error
        return out

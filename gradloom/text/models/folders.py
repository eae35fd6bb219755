"""Folders as Hugging Face lays them out: config.json beside weights."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gradloom.errors import FileError, NotSupportedError
from gradloom.io.files import load

__all__ = ["configured", "read_json", "weights"]

C = TypeVar("C")
_FILES = ("model.safetensors", "pytorch_model.bin")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON file with one object. Raises FileError for one that is missing or damaged."""
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise FileError(f"there is no {path}", code="io.model") from None
    except json.JSONDecodeError as error:
        raise FileError(f"{path} is no JSON: {error}", code="io.model") from None
    if not isinstance(data, dict):
        raise FileError(f"{path} holds a {type(data).__name__}, not an object", code="io.model")
    return data


def configured(kind: type[C], data: Mapping[str, Any], model_types: tuple[str, ...]) -> C:
    """A configuration of a data class from config.json; fields that the class does not have are left out.

    Raises NotSupportedError for a model of another type than these, or with positions of another kind.
    """
    found = data.get("model_type", model_types[0])
    if found not in model_types:
        raise NotSupportedError(
            f"{kind.__name__}: config.json is of a model of type {found!r}", code="unsupported.model",
            hint=f"this class reads {' and '.join(model_types)}",
        )  # fmt: skip
    positions = data.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise NotSupportedError(
            f"{kind.__name__}: position_embedding_type {positions!r}; only 'absolute' is there",
            code="unsupported.model",
        )
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in data.items() if name in names})


def weights(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The state dict of a folder: one file, or several with an index. Raises FileError where there is none."""
    at = Path(folder)
    for name in _FILES:
        if (at / name).is_file():
            return load(at / name)
        if (at / f"{name}.index.json").is_file():
            parts = read_json(at / f"{name}.index.json")["weight_map"]
            out: dict[str, Any] = {}
            for part in sorted(set(parts.values())):
                if Path(part).name != part:
                    raise FileError(f"{at / name}.index.json names a file outside of its folder: {part}")
                out.update(load(at / part))
            return out
    raise FileError(f"no weights in {at}", code="io.model", hint=" or ".join(_FILES))

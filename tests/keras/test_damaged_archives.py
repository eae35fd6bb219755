"""Archives of models that are cut off, changed or of no version: errors of ours, nothing else."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from gradloom import keras
from gradloom.errors import FileError, GradloomError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("models") / "m.keras"
    keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)]).save(path)
    return path.read_bytes()


def test_a_version_of_zip_that_nobody_reads(whole: bytes, tmp_path: Path) -> None:
    raw = bytearray(whole)
    raw[raw.index(b"PK\x01\x02") + 6] = 155
    (tmp_path / "m.keras").write_bytes(raw)
    with pytest.raises(FileError, match="not a readable"):
        keras.models.load_model(tmp_path / "m.keras")


def test_a_layer_that_is_not_known_is_named(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "n.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"Dense"', b'"Densf"'))
    with pytest.raises(GradloomError, match="Densf"):
        keras.models.load_model(tmp_path / "n.keras")


@pytest.mark.parametrize("k", range(8))
def test_damaged_bytes_raise_errors_of_ours(k: int, whole: bytes, tmp_path: Path) -> None:
    draw, path = random.Random(k), tmp_path / "m.keras"
    for _ in range(6):
        raw = bytearray(whole)
        if draw.random() < 0.3:
            raw = raw[: draw.randrange(len(raw))]
        else:
            for _ in range(draw.choice([1, 3, 50])):
                raw[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(raw)
        try:
            keras.models.load_model(path)
        except GradloomError:
            pass

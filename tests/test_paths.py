"""The cache folder follows the environment and the platform."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gradloom.paths import cache_folder

VARIABLES = ("GRADLOOM_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "~/.cache/gradloom/a/b"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/gradloom/a/b"),
        ("linux", {"XDG_CACHE_HOME": "", "GRADLOOM_CACHE_DIR": ""}, "~/.cache/gradloom/a/b"),
        ("linux", {"XDG_CACHE_HOME": "/xdg", "GRADLOOM_CACHE_DIR": "/named"}, "/named/a/b"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "~/Library/Caches/gradloom/a/b"),
        ("darwin", {"GRADLOOM_CACHE_DIR": "/named"}, "/named/a/b"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/gradloom/a/b"),
        ("win32", {}, "~/AppData/Local/gradloom/a/b"),
    ],
)
def test_cache_folder(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder("a", "b") == Path(expected).expanduser()


def test_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert list(tmp_path.iterdir()) == []

"""Errors of files, which programs catch by Python's kind or by Keras'."""

from __future__ import annotations

from pathlib import Path

from gradloom.errors import NotSupportedError


class FileNameError(NotSupportedError, ValueError):
    """A file name of another ending."""


class MissingFileError(FileNotFoundError, ValueError):
    """A file that is not there."""


def missing(path: Path) -> MissingFileError:
    """The error for a file that is not there."""
    return MissingFileError(
        f"File not found: filepath={path}: there is no file {path}. Please ensure the file is an accessible file of a "
        "model or of weights"
    )

"""Fetch a file from the first of several places that has it, going on where a broken transfer stopped.

The bytes go into ``NAME.part``; only a file whose SHA-256 is right takes the name. Two processes may fetch the same
file: the one that finds the part locked writes to a part of its own.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

__all__ = ["DownloadError", "fetch", "file_digest"]

_CHUNK = 1 << 18
_AGENT = "gradloom"


class DownloadError(OSError):
    """No place had the file, or what came is not the file that was promised. The message lists what each answered."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(
    urls: Sequence[str],
    path: Path,
    sha256: str,
    *,
    timeout: float = 30.0,
    attempts: int = 2,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Bring a file to ``path``, unless it is there already and whole.

    Parameters
    ----------
    urls : places to try in this order; http, https and file addresses.
    path : where the file is to stand. Its folder is made.
    sha256 : what the file's SHA-256 must be, 64 hexadecimal digits; "sha256:" may stand before them.
    timeout : seconds without a byte after which a place is given up.
    attempts : how often the whole list is gone through. A transfer that broke off goes on at the next attempt.
    progress : called with the number of bytes so far and the number in all (None where the place does not say).

    Returns
    -------
    ``path``

    Raises
    ------
    DownloadError : no place delivered the file. ValueError : ``sha256`` is no such sum.
    OSError : ``path``'s folder cannot be written.
    """
    sha256 = sha256.strip().lower().removeprefix("sha256:")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256 is 64 hexadecimal digits, got {sha256!r}")
    if path.is_file() and file_digest(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    answers: list[str] = []
    part, file = _open_part(path)
    try:
        for _ in range(attempts):
            for url in urls:
                try:
                    _transfer(url, file, timeout, progress)
                except (OSError, http.client.HTTPException) as error:
                    answers.append(f"  {url}: {_words(error)}")
                    continue
                file.flush()
                found = file_digest(part)
                if found == sha256:
                    _publish(file, part, path)
                    return path
                answers.append(f"  {url}: wrong content, SHA-256 {found} instead of {sha256}")
                file.seek(0)
                file.truncate()
    finally:
        file.close()
        _drop_if_private(part, path)
    tried = "\n".join(answers)
    raise DownloadError(
        f"could not fetch {path.name}. Put the file at {path} yourself, or try again later. What was tried:\n{tried}"
    )


def _open_part(path: Path) -> tuple[Path, IO[bytes]]:
    """The shared part file, locked for us; a private one where another process holds it or locks are not to be had."""
    shared = path.with_name(path.name + ".part")
    file = open(shared, "a+b")
    # between opening and locking, the holder may have finished and given this very file its final name
    if _lock(file) and shared.exists() and os.path.samestat(os.fstat(file.fileno()), shared.stat()):
        return shared, file
    file.close()
    private = path.with_name(f"{path.name}.{os.getpid()}.part")
    return private, open(private, "a+b")


def _lock(file: IO[bytes]) -> bool:
    """Take the lock on a file without waiting; False where another holds it or the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _publish(file: IO[bytes], part: Path, path: Path) -> None:
    """Give the part its final name: while it is locked, but closed on systems that do not rename an open file."""
    if os.name == "nt":
        file.close()
    os.replace(part, path)


def _drop_if_private(part: Path, path: Path) -> None:
    """A private part is of no use to a later attempt; an empty one is of no use to anybody."""
    if part.exists() and (part.name != path.name + ".part" or part.stat().st_size == 0):
        part.unlink(missing_ok=True)


def _transfer(url: str, file: IO[bytes], timeout: float, progress: Callable[[int, int | None], None] | None) -> None:
    """Append what is missing of ``url`` to ``file``, which may already hold its first bytes.

    Raises
    ------
    OSError, http.client.HTTPException : the place cannot be reached, refuses, or stops before the end. What came
        before that stays in the file.
    """
    have = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": _AGENT}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        return  # nothing is left to fetch, or the part is too long: the checksum tells
    with answer:
        if have and answer.status != 206:  # the place does not resume (or is a file address): from the start
            file.seek(0)
            file.truncate()
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        done = have
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        file.flush()
        if total is not None and done != total:
            raise http.client.IncompleteRead(b"", total - done)


def _words(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"broke off, {error.expected} bytes missing"
    return f"{type(error).__name__}: {error}"

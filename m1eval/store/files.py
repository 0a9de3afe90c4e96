"""Files that other processes may lock, replace or delete, on disks that may be full."""

import fcntl
import hashlib
import itertools
import os
from io import FileIO
from pathlib import Path

from m1eval.errors import UsageError
from m1eval.option_names import alternative
from m1eval.text import display_path


def locked(path: Path) -> FileIO:
    """The file, opened for appending and locked; UsageError if another process has locked it.

    A process that ends may delete or replace the file between our opening and locking it: then it is opened again.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        file = FileIO(descriptor, "a+")  # a buffer would try again to write what a full disk has refused
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(
                f"{display_path(path.parent)} is being written by another run; wait{alternative('out', 'elsewhere')}"
            ) from None
        if is_at(file, path):
            return file
        file.close()


def is_at(file: FileIO, path: Path) -> bool:
    """Whether the open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat(follow_symlinks=False))
    except OSError:
        return False


def digest(path: Path) -> str:
    """The size and the SHA-256 of a file."""
    with path.open("rb") as file:
        return f"{path.stat().st_size}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def open_append(path: Path) -> FileIO:
    """A file opened for appending; a symbolic link is not followed."""
    return FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+")


def unused_path(path: Path) -> Path:
    """The path, with a number appended if it is taken."""
    names = itertools.chain([path], (path.with_name(f"{path.name}.{n}") for n in itertools.count(1)))
    return next(name for name in names if not os.path.lexists(name))


def content(file: FileIO) -> bytes:
    """The bytes of an open file, which may have been renamed or deleted."""
    data = bytearray()
    while part := os.pread(file.fileno(), 2**24, len(data)):
        data += part
    return bytes(data)


def append(file: FileIO, data: bytes, *, durable: bool = True) -> None:
    """Append all of `data`, or none of it: a disk that fills up must not leave half a line.

    `durable`: return when it is on disk.
    """
    end = file.seek(0, os.SEEK_END)
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
        if durable:
            os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise

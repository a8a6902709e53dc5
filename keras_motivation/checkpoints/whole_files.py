"""Files that are written completely or not at all: if a write is interrupted, the previous file does not change."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

from keras_motivation import _keras


@contextlib.contextmanager
def whole_file(filepath: Any, size: int = 0) -> Iterator[str]:
    """Gives the path of a hidden file next to `filepath`. At the end, this file replaces the one at `filepath`.

    After an error, nothing has changed and the hidden file is removed. After a kill, the hidden file remains.

    Args:
        filepath: Path of a local file. It need not exist.
        size: Approximate number of bytes that will be written.

    Yields:
        A path in the same folder, with the same suffix.

    Raises:
        OSError: If the disk has too little room. HDF5 must not run into this, because it may crash the process.
    """
    target = os.path.realpath(filepath)  # of a link, the file that it points to
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".partial-{secrets.token_hex(4)}-{name}")
    if (free := shutil.disk_usage(folder).free) < size:
        what = f"No space left on device: {size:,} bytes are to be written, {free:,} are free"
        raise OSError(errno.ENOSPC, what, target)
    try:
        yield partial
        if os.path.exists(target):
            shutil.copymode(target, partial)
        flush(partial)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise


def flush(path: str) -> None:
    """Waits until a file is on the disk. Otherwise a power failure could destroy a file that has already been moved."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def is_local_file(filepath: Any, *suffixes: str) -> bool:
    """Whether `filepath` has one of the suffixes and is a local file, not a folder or a remote path."""
    if not isinstance(filepath, (str, os.PathLike)) or _keras.is_remote(filepath):
        return False
    return str(filepath).endswith(suffixes) and (os.path.isfile(filepath) or not os.path.exists(filepath))


def may_write(filepath: Any, overwrite: bool) -> bool:
    """Whether `filepath` does not exist or may be overwritten. Asks the user in the cases in which Keras asks."""
    return overwrite or not os.path.exists(filepath) or _keras.asks_to_overwrite(filepath)

"""Files that are written whole or not at all: whoever is killed while writing leaves the former file as it was."""

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
    """Gives a path to write to, a hidden one beside `filepath`; what was written there takes its place at the end.

    After an error nothing has changed, and nothing is left behind. A kill leaves the hidden file behind.

    Args:
        filepath: Path of a local file, which need not exist.
        size: About how many bytes are to be written.

    Yields:
        A path in the same folder, with the same suffix.

    Raises:
        OSError: If there is no room for so much. HDF5 must not find out: it may take the process down.
    """
    target = os.path.realpath(filepath)  # through a link to the file itself, as writing into it would go
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
    """Waits until a file is on the disk. Else a power cut could bring down a file that has been moved to its place."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def is_local_file(filepath: Any, *suffixes: str) -> bool:
    """Whether `filepath` names a file with one of the suffixes that can be moved into place: no folder, no bucket."""
    if not isinstance(filepath, (str, os.PathLike)) or _keras.is_remote(filepath):
        return False
    return str(filepath).endswith(suffixes) and (os.path.isfile(filepath) or not os.path.exists(filepath))


def may_write(filepath: Any, overwrite: bool) -> bool:
    """Whether `filepath` is free or may be overwritten; asks the user where Keras would ask."""
    return overwrite or not os.path.exists(filepath) or _keras.asks_to_overwrite(filepath)

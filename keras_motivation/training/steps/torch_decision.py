"""Copies the decision from a GPU to the host without waiting for the other work in the queue."""

from typing import Any

import torch


class HostCopy:
    """A boolean on the device that the host can read before the later work in the queue is done.

    Reading a tensor on a GPU waits for everything in its queue. The device would then be idle while the host prepares
    the next batch. Instead, the boolean is copied to pinned memory on a separate stream as soon as it is computed,
    while the backward pass and the update still run. On a CPU there is no queue and nothing to copy.
    """

    def __init__(self) -> None:
        self._flag: Any = None  # the tensor that was copied last
        self._version: int | None = None  # of the tensor, when its copy was started

    def start(self, flag: torch.Tensor) -> None:
        """Starts the copy. Call it after the boolean's computation is queued and before later work is queued."""
        if not flag.is_cuda:
            return
        self._version = None
        if flag is not self._flag:
            self._host = torch.empty((), dtype=flag.dtype, device="cpu", pin_memory=True)
            self._stream, self._copied = torch.cuda.Stream(flag.device), torch.cuda.Event()
            self._flag = flag
        self._stream.wait_stream(torch.cuda.current_stream(flag.device))
        with torch.cuda.stream(self._stream):
            self._host.copy_(flag, non_blocking=True)
            self._copied.record()
        self._version = flag._version

    def read(self, flag: torch.Tensor) -> bool:
        """The boolean: from its copy, or, if it has been written since, from the device, for which the host waits."""
        if flag is not self._flag or flag._version != self._version:
            return bool(flag)
        self._copied.synchronize()
        return bool(self._host)

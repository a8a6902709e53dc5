"""Copies the decision from a GPU to the host without waiting for the other work in the queue."""

from typing import Any

import torch


class HostCopy:
    """A number on the device that the host can read before the later work in the queue is done.

    Reading a tensor on a GPU waits for everything in its queue. The device would then be idle while the host prepares
    the next batch. Instead, the number is copied to pinned memory on a separate stream as soon as it is computed,
    while the backward pass and the update still run. On a CPU there is no queue and nothing to copy.
    """

    def __init__(self) -> None:
        self._number: Any = None  # the tensor that was copied last
        self._version: int | None = None  # of the tensor, when its copy was started

    def start(self, number: torch.Tensor) -> None:
        """Starts the copy. Call it after the number's computation is queued and before later work is queued."""
        if not number.is_cuda:
            return
        self._version = None
        if number is not self._number:
            self._host = torch.empty((), dtype=number.dtype, device="cpu", pin_memory=True)
            self._stream, self._copied = torch.cuda.Stream(number.device), torch.cuda.Event()
            self._number = number
        self._stream.wait_stream(torch.cuda.current_stream(number.device))
        with torch.cuda.stream(self._stream):
            self._host.copy_(number, non_blocking=True)
            self._copied.record()
        self._version = number._version

    def read(self, number: torch.Tensor) -> int:
        """The number: from its copy, or, if it has been written since, from the device, for which the host waits."""
        if number is not self._number or number._version != self._version:
            return int(number)
        self._copied.synchronize()
        return int(self._host)

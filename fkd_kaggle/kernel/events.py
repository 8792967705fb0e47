"""Events of pushed kernels, as plain values for displays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class KernelPushed:
    """A kernel was pushed, or an earlier push of it was found."""

    kernel: str
    version: int
    url: str
    resumed: bool
    """Whether the kernel had been pushed before."""
    uses_gpu: bool = True
    """Whether the kernel's time counts against the GPU quota."""


@dataclass(frozen=True)
class KernelStateChanged:
    """Kaggle reports another state of a kernel."""

    kernel: str
    state: str
    """queued, running, complete, error, …"""
    since: datetime | None
    """When the kernel was first seen running; None before that."""


@dataclass(frozen=True)
class KernelPrinted:
    """A kernel has printed a line."""

    kernel: str
    text: str
    stream: str
    """"stdout" or "stderr"."""


@dataclass(frozen=True)
class KernelWaiting:
    """A kernel cannot be pushed yet, or Kaggle cannot be reached."""

    kernel: str
    reason: str


@dataclass(frozen=True)
class KernelWarning:
    """Something about a kernel that the user should know and that ends nothing."""

    kernel: str
    text: str


KernelEvent = KernelPushed | KernelStateChanged | KernelPrinted | KernelWaiting | KernelWarning

OnKernelEvent = Callable[[KernelEvent], None]

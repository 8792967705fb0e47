"""Servers for this machine only: their address, and which requests are meant for them."""

from __future__ import annotations

import re
from typing import Final

ADDRESS: Final = "127.0.0.1"
"""Address that the servers listen on."""

_HOST: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::(?P<port>\d+))?")


def is_this_machine(host: str, port: int | None = None) -> bool:
    """Return whether a request was sent to a name of this machine.

    A page of another site can reach a loopback server under a name of its own that resolves to
    127.0.0.1 (DNS rebinding); such a request must be refused.

    Parameters
    ----------
    host
        The request's header Host.
    port
        The only valid port. Default: any.
    """
    found = _HOST.fullmatch(host)
    return found is not None and (port is None or int(found["port"] or 80) == port)

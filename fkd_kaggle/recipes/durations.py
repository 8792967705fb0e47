"""Durations as text: ``90s``, ``20m``, ``1.5h``."""

from __future__ import annotations

import re

from fkd_kaggle.errors import FkdError


def parse_duration(text: str | None, option: str = "--time-limit") -> float | None:
    """Return the seconds of a duration such as ``90s``, ``20m``, ``1.5h`` or ``45`` (seconds).

    Parameters
    ----------
    text
        The duration; None returns None.
    option
        Name of the option, for the error message.

    Raises
    ------
    FkdError
        The text is not a duration, or the duration is not positive.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", text.strip().lower(), re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise FkdError(f"{option} {text!r} is not a time: write 90s, 20m or 1.5h")
    return seconds

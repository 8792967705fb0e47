"""Text for people and for file names: durations, errors in pixels, slugs, untrusted text.

Formats single values. ``display`` lays values out for the terminal, ``report`` for HTML pages.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

_UNPRINTABLE: Final = re.compile(
    # Control characters except tab and newline, marks that change the direction of text (by which
    # a name can look like another one), line separators, and characters that no encoding has.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def format_duration(seconds: float | None) -> str:
    """Return a duration such as ``42 s``, ``3:07 min`` or ``1:02 h``.

    Parameters
    ----------
    seconds
        Seconds; None, NaN and infinity give a dash.
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def format_age(seconds: float) -> str:
    """Return how long ago something was, such as ``5 min``, ``3 h`` or ``12 d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "now"


def format_time(time: datetime | None) -> str:
    """Return a time in UTC, such as ``2026-11-27 12:50``; None gives a dash."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if time else "–"


def format_size(size: float) -> str:
    """Return a number of bytes such as ``12 kB``, ``3.4 MB`` or ``1.2 GB``."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            value = size / length
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{size:.0f} B"


def format_pixels(value: float | None) -> str:
    """Return an error in pixels with three decimals; None and NaN give a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def format_short(value: float | None) -> str:
    """Return a number with four significant digits; None gives a dash."""
    return "–" if value is None else f"{value:.4g}"


def escape_text(text: str) -> str:
    r"""Return untrusted text with visible control characters, safe to print on a terminal.

    Text of servers, files and recipes can contain escape sequences, which a terminal would execute.
    Control characters, marks of text direction and characters without an encoding become escapes
    such as ``\x1b``; tabs and newlines are kept. Markup is not interpreted by the commands'
    console (``display.console``), so it needs no escape.
    """
    return _UNPRINTABLE.sub(lambda match: _escape_sequence(match[0]), text)


def one_line(text: str, max_length: int = 2000) -> str:
    """Return untrusted text on one line, with visible control characters.

    Parameters
    ----------
    text
        Any text.
    max_length
        Maximum number of characters; longer text ends with "…".
    """
    line = escape_text(" ".join(text.split()))
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def first_line(text: object) -> str:
    """Return the first line of a text, such as an exception of a library; empty without text.

    Control characters are visible, as in ``one_line``.
    """
    return escape_text(str(text).strip().partition("\n")[0])


def slug(text: str) -> str:
    """Return a text as Kaggle writes it in addresses: only ``a-z``, ``0-9`` and ``-``.

    Letters with accents become plain ones, other characters become hyphens. The result is empty if
    the text contains no letter and no digit.
    """
    from slugify import slugify

    return str(slugify(text))


def file_stem(text: str, *, max_length: int = 0) -> str:
    """Return a text as part of a file name: only ``A-Z``, ``a-z``, ``0-9`` and ``._+-``.

    Letters with accents become plain ones, other characters become hyphens. The result neither
    starts nor ends with a dot or a hyphen.

    Parameters
    ----------
    text
        Any text, such as the name of a run or of a photo.
    max_length
        Maximum number of characters of the result; 0 for no limit.
    """
    from slugify import slugify

    pattern = r"[^A-Za-z0-9._+-]+"
    stem = slugify(text, lowercase=False, regex_pattern=pattern, max_length=max_length)
    return str(stem).strip("-.")


def _escape_sequence(character: str) -> str:
    """Return a character as Python writes it in a literal."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

"""Text for people and for file names: durations, errors in pixels, slugs.

Formats single values. ``display`` lays values out for the terminal, ``report`` for HTML pages.
"""

from __future__ import annotations

import math


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


def format_pixels(value: float | None) -> str:
    """Return an error in pixels with three decimals; None and NaN give a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def format_short(value: float | None) -> str:
    """Return a number with four significant digits; None gives a dash."""
    return "–" if value is None else f"{value:.4g}"


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

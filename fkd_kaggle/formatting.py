"""What commands print as tables: faces, a data set's quirks, scores, submissions, runs and more.

Lays out values it is given; asks and computes nothing.
"""

from __future__ import annotations

import math


def format_duration(seconds: float | None) -> str:
    """Return seconds as people say them: 42 s, 3:07 min, 1:02 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def format_pixels(value: float | None) -> str:
    """Return an RMSE with three decimals; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def format_short(value: float | None) -> str:
    """Return a number of any size with four digits that say something; a dash for none."""
    return "–" if value is None else f"{value:.4g}"

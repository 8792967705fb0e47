"""Slugs and titles of kernels, as Kaggle derives and accepts them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from fkd_kaggle import formatting
from fkd_kaggle.errors import KernelError

MAX_TITLE: Final = 50
"""Longer titles end in "500 - An internal server error" (github.com/Kaggle/kaggle-cli/pull/179)."""

_MIN_TITLE: Final = 5


def slug_for(run_name: str, shard: int | None = None) -> str:
    """Return the slug of a run's kernel: at most 50 characters of a–z, 0–9 and "-".

    The slug of a long run name is cut and ends in a hash of the name.

    Parameters
    ----------
    run_name
        Name of the run.
    shard
        Index of the shard; None for the whole training, or for the blend of the shards.
    """
    words = formatting.slug(run_name)
    ending = "" if shard is None else f"-shard-{shard + 1}"
    available = MAX_TITLE - len("fkd-") - len(ending)
    if len(words) > available:
        name_hash = hashlib.sha256(run_name.encode()).hexdigest()[:6]
        words = f"{words[: available - 7].rstrip('-')}-{name_hash}"
    return f"fkd-{words}{ending}"


def title_for(slug: str) -> str:
    """Return a title from which Kaggle derives ``slug``."""
    return " ".join(word.capitalize() for word in slug.split("-"))


def check_names(owner: str, slug: str, title: str) -> None:
    """Check the names of a kernel before Kaggle refuses them.

    Raises
    ------
    KernelError
        The owner or the slug has other characters, the title is too short or too long, or Kaggle
        would derive another slug from it.
    """
    for what, value in (("owner", owner), ("name", slug)):
        if not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", value):
            raise KernelError(
                f"a kernel's {what} has letters, digits and single '-' between them, not {value!r}"
            )
    if not _MIN_TITLE <= len(title) <= MAX_TITLE:
        raise KernelError(
            f"a kernel's title has {_MIN_TITLE} to {MAX_TITLE} characters, "
            f"not {len(title)}: {title!r}"
        )
    derived = formatting.slug(title)
    if derived != slug.lower():
        raise KernelError(
            f"Kaggle would derive the name {derived!r} from the title {title!r}, not {slug!r}: "
            f"use the title {title_for(slug)!r}"
        )

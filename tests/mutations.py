"""Changed files for the fuzz tests: what disks, editors, notebooks and servers do to a file.

``FKD_FUZZ_SECONDS=600`` fuzzes longer and with other random numbers; by default all tests in
``tests/fuzz`` together take less than a minute and are the same each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_SECONDS: Final = os.environ.get("FKD_FUZZ_SECONDS")

_TOKENS: Final = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b",",
    b";",
    b'"',
    b"'",
    b"-",
    b"nan",
    b"1e999",
    b"1_0",
    "１".encode(),
    b"-1",
    b"999999999999999999999999",
    b"null",
    b"[" * 3000,
    b"9" * 5000,
    b"{}",
    b"../../x",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b[31m",
    b"<",
    b"&amp;",
    b"]]>",
)
"""Texts and bytes that files should not contain at an arbitrary position."""


class Budget:
    """Seconds that a fuzz test can take; after them its examples end at once."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + (float(_SECONDS) if _SECONDS else seconds)

    @property
    def is_spent(self) -> bool:
        """Return whether the time is over."""
        return time.monotonic() > self._end


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Return the settings of a fuzz test with a number of examples."""
    return settings(
        max_examples=100 * examples if _SECONDS else examples,
        derandomize=not _SECONDS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def edits() -> st.SearchStrategy[list[tuple[str, float, bytes]]]:
    """Return one to four changes: kind, place as a share of the file, and bytes."""
    return st.lists(
        st.tuples(
            st.sampled_from(["insert", "replace", "cut", "delete", "flip", "double", "zero"]),
            st.floats(0, 1),
            st.one_of(st.sampled_from(_TOKENS), st.binary(min_size=1, max_size=6)),
        ),
        min_size=1,
        max_size=4,
    )


def mutate(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """Return a file's content after changes."""
    for kind, share, token in changes:
        place = int(share * len(content))
        length = max(1, len(token))
        if kind == "insert":
            content = content[:place] + token + content[place:]
        elif kind == "replace":
            content = content[:place] + token + content[place + length :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "delete":
            content = content[:place] + content[place + 16 * length :]
        elif kind == "flip":
            flipped = bytes(value ^ 0x55 for value in content[place : place + length])
            content = content[:place] + flipped + content[place + length :]
        elif kind == "double":
            content = content[:place] + content[place : place + 200] + content[place:]
        else:
            content = content[:place] + bytes(length) + content[place + length :]
    return content


def json_values() -> st.SearchStrategy[Any]:
    """Return any JSON value, with the values that programs handle worst."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.sampled_from([10**400, "\0", "\x1b[2J", "../x", "", -1, 1e308]),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )

"""Tests of the text for people and for file names."""

from __future__ import annotations

import pytest

from fkd_kaggle.formatting import (
    file_stem,
    first_line,
    format_duration,
    format_pixels,
    one_line,
    slug,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (3599.7, "1:00 h"),
     (5400, "1:30 h"), (None, "–"), (float("nan"), "–"), (float("inf"), "–")],
)  # fmt: skip
def test_format_duration(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


def test_missing_error_is_a_dash() -> None:
    assert format_pixels(None) == format_pixels(float("nan")) == "–"
    assert format_pixels(1.28236) == "1.282"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("standard-1", "standard-1"),
        ("Zoë's run+2 (a)", "zoe-s-run-2-a"),
        ("a.b_c", "a-b-c"),
        ("…", ""),
    ],
)
def test_slug_has_only_letters_digits_and_hyphens(text: str, expected: str) -> None:
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Cascade+quick_1.5", "Cascade+quick_1.5"), ("../Zoë (a).", "Zoe-a"), (".hidden", "hidden")],
)
def test_file_stem_keeps_case_and_has_no_path(text: str, expected: str) -> None:
    assert file_stem(text) == expected


def test_file_stem_can_be_limited() -> None:
    assert file_stem("photo-0001-of-many", max_length=6) == "photo"


def test_one_line_of_untrusted_text_has_visible_control_characters() -> None:
    assert one_line("a\n b\t\x1b[31mc\u202e") == "a b \\x1b[31mc\\u202e"
    assert one_line("x" * 30, 10) == "x" * 9 + "…"
    assert first_line("\n\x07first\nsecond") == "\\x07first"
    assert first_line(ValueError("")) == ""

"""Scoring: shares of rows, and the messages about malformed submissions."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.practice.scoring import MalformedSubmissionError, Scorer, public_rows


@given(st.integers(1, 3000), st.integers(0, 10**6))
def test_a_rows_share_depends_on_its_row_id_only(count: int, start: int) -> None:
    rows = np.arange(start, start + count)
    shuffled = np.random.default_rng(count).permutation(rows)
    assert np.array_equal(public_rows(shuffled), public_rows(rows)[shuffled - start])


def test_about_half_of_the_rows_are_public() -> None:
    assert 0.48 < public_rows(np.arange(1, 27125)).mean() < 0.52


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("Row,Location\n1,2\n", "Required column 'RowId' could not be found"),
        ("RowId,Location\n1,2\n2,3\n", "Unable to find 1 required key values"),
        ("RowId,Location\n1,2\n2,3\n2,3\n3,4\n", "has already been defined (Line 4, Column 1)"),
        ("RowId,Location\n1,2\n2,3\n3,4\n9,4\n", "'9' in the key column 'RowId' was not expected"),
        ("RowId,Location\n1,2\n2,nan\n3,4\n", "'nan' in the column 'Location' must be a finite"),
        ("RowId,Location\n1,2\n2,\n3,4\n", "(Line 3, Column 2)"),
        ("RowId,Location\n1,2\n2,x\n3,4\n", "'x' in the column 'Location'"),
        ("RowId,Location,Face\n1,2,3\n2,3,3\n3,4,3\n", "'Face' was not expected"),
        ("RowId,Location\n1,2\n2,3,5,6\n3,4\n", "not a CSV file"),
        ("\x00\x01\x02", "Required column"),
    ],
)
def test_the_message_about_a_malformed_submission_names_the_problem(
    content: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(content)
    scorer = Scorer(np.arange(1, 4), np.zeros(3))
    with pytest.raises(MalformedSubmissionError) as caught:
        scorer.read(path)
    assert reason in str(caught.value)


def damaged_zip(local: dict[int, int], central: dict[int, int]) -> bytes:
    """Return a zipped submission with other bytes in the header of its file and in the directory.

    Parameters
    ----------
    local
        Bytes by their positions in the file's header, or after it.
    central
        Bytes by their positions in the file's entry of the directory.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.csv", "RowId,Location\n1,2\n2,3\n3,4\n")
    damaged = bytearray(content.getvalue())
    for position, value in local.items():
        damaged[position] = value
    start = damaged.rindex(b"PK\x01\x02")
    for position, value in central.items():
        damaged[start + position] = value
    return bytes(damaged)


@pytest.mark.parametrize(
    "content",
    [
        damaged_zip({6: 1}, {8: 1}),
        damaged_zip({8: 99}, {10: 99}),
        damaged_zip({30 + len("submission.csv"): 0xFF}, {}),
    ],
    ids=["encrypted", "unknown compression", "damaged"],
)
def test_an_archive_that_cannot_be_unpacked_is_malformed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "submission.zip"
    path.write_bytes(content)
    with pytest.raises(MalformedSubmissionError, match="not a CSV file"):
        Scorer(np.arange(1, 4), np.zeros(3)).read(path)

"""Tests of submitting files: copies of packed files, and waiting again after Ctrl-C."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle import pipeline
from fkd_kaggle.errors import SubmissionError
from fkd_kaggle.kaggle_api.submissions import SubmissionRecord


@dataclass
class FakeCompetition:
    """Kaggle, which scores a submission only if ``scores`` is set."""

    scores: bool = False
    records: list[Any] = field(default_factory=list)

    def submit(self, path: Path, message: str) -> int:
        """Accept a file."""
        ref = len(self.records) + 1
        values: dict[str, Any] = {
            **dict.fromkeys(SubmissionRecord.__dataclass_fields__),
            "ref": ref,
            "file_name": path.name,
            "status": "pending",
        }
        self.records.append(SubmissionRecord(**values))
        return ref

    def submissions(self) -> list[Any]:
        """Return all submissions."""
        return self.records

    def wait_for_score(self, ref: int, **_: Any) -> Any:
        """Score a submission, or wait until Ctrl-C."""
        if not self.scores:
            raise KeyboardInterrupt
        return self.records[ref - 1]


def write_submission(competition_dir: Path, path: Path, value: str = "48.5") -> Path:
    """Write a submission with the rows of the tiny competition."""
    rows = (competition_dir / "SampleSubmission.csv").read_text().splitlines()[1:]
    lines = [f"{row.split(',')[0]},{value}" for row in rows]
    path.write_text("RowId,Location\n" + "\n".join(lines) + "\n")
    return path


def test_a_submission_that_waits_is_not_submitted_again(
    competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.csv")
    kaggle, resumed = FakeCompetition(), list[int]()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            pipeline.upload_submission(kaggle, path, "text", on_resume=resumed.append)  # type: ignore[arg-type]
    assert (len(kaggle.records), resumed) == (1, [1, 1])
    kaggle.scores = True
    pipeline.upload_submission(kaggle, path, "text")  # type: ignore[arg-type]
    assert len(kaggle.records) == 1
    pipeline.upload_submission(kaggle, path, "text")  # type: ignore[arg-type]
    assert len(kaggle.records) == 2  # scored already: a new submission


def test_a_submission_of_another_kaggle_is_not_waited_for(
    competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.csv")
    with pytest.raises(KeyboardInterrupt):
        pipeline.upload_submission(FakeCompetition(), path, "text")  # type: ignore[arg-type]
    other = FakeCompetition(scores=True)
    pipeline.upload_submission(other, path, "text")  # type: ignore[arg-type]
    assert len(other.records) == 1


def test_a_packed_submission_is_uploaded_as_a_plain_copy(
    competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.csv")
    with zipfile.ZipFile(tmp_path / "own.csv.zip", "w") as archive:
        archive.write(path, "own.csv")
    folder = tmp_path / "submissions"
    assert pipeline.prepare_submission(path, competition_dir, folder) == path
    copy = pipeline.prepare_submission(tmp_path / "own.csv.zip", competition_dir, folder)
    assert copy.parent == folder
    assert copy.read_text() == path.read_text()


def test_implausible_locations_need_an_option(
    fkd: Command, competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.csv", "0.53")
    arguments = ("submit", "--file", path, "--dry-run", "--data-dir", competition_dir)
    assert_one_line_error(fkd(*arguments), "lie between 0.53 and 0.53", "--accept-implausible")
    assert fkd(*arguments, "--accept-implausible").code == 0
    with pytest.raises(SubmissionError, match="lie between"):
        pipeline.prepare_submission(path, competition_dir, tmp_path)

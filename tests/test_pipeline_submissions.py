"""Tests of submitting files: copies of packed files, and waiting again after Ctrl-C."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle import pipeline
from fkd_kaggle.cli import connection
from fkd_kaggle.data import submission
from fkd_kaggle.data.submission import Submission
from fkd_kaggle.display.console import make_console
from fkd_kaggle.errors import CompetitionError, SubmissionError
from fkd_kaggle.kaggle_api.submissions import SubmissionRecord
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.runs.scores import NO_SCORES


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


def test_an_upload_is_known_whatever_the_name_of_its_file(
    competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.TXT")
    submission.record_score(path, ref=7, public_score=1.0, private_score=1.0)
    assert submission.find_uploads(path, tmp_path / "submissions") == {7}


def test_a_file_in_a_read_only_folder_is_uploaded_as_a_copy(
    competition_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the upload could not be written beside it."""
    (tmp_path / "share").mkdir()
    path = write_submission(competition_dir, tmp_path / "share" / "own.csv")
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != path.parent)
    copy = pipeline.prepare_submission(path, competition_dir, tmp_path / "submissions")
    assert copy.parent == tmp_path / "submissions"
    assert copy.read_text() == path.read_text()


@pytest.mark.parametrize(
    ("change", "is_known"),
    [({}, True), ({"by_member": None}, False), ({"own": []}, False), ({"combined": "1"}, False)],
)
def test_damaged_scores_of_a_submission_are_unknown(
    tmp_path: Path, change: dict[str, Any], is_known: bool
) -> None:
    built = Submission(np.arange(1, 4), np.full(3, 48.0))
    notes = {"scores": {**asdict(NO_SCORES), **change}}
    path = submission.write_submission(built, tmp_path, "run", datetime.now(UTC), notes)
    assert (pipeline.submission_scores(path) is not None) == is_known


def test_a_submission_of_many_runs_has_a_short_file_name(tmp_path: Path) -> None:
    built = Submission(np.arange(1, 4), np.full(3, 48.0))
    name = "+".join(f"{letter * 80}" for letter in "abcd")
    path = submission.write_submission(built, tmp_path, name, datetime.now(UTC), {})
    assert path.is_file()
    assert [one.run for one in submission.list_submissions(tmp_path)] == [name]


class _SubmitsOnly:
    """Kaggle, which gives an error when it is asked for the number of submissions left."""

    def submissions_left(self) -> int:
        """Fail."""
        raise CompetitionError("Kaggle cannot be reached")


def test_a_scored_submission_succeeds_without_the_number_of_submissions_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.csv").write_text("RowId,Location\n1,48.5\n")
    values: dict[str, Any] = dict.fromkeys(SubmissionRecord.__dataclass_fields__)
    record = SubmissionRecord(**{**values, "public_score": 1.25})
    kaggle: Any = _SubmitsOnly()
    connection.upload_and_report(
        make_console(), kaggle, tmp_path / "own.csv", None, lambda on_wait: record, tmp_path
    )
    printed = capsys.readouterr().out
    assert "score: 1.250 public" in printed
    assert "submissions left" not in printed


def test_implausible_locations_need_an_option(
    fkd: Command, competition_dir: Path, tmp_path: Path
) -> None:
    path = write_submission(competition_dir, tmp_path / "own.csv", "0.53")
    arguments = ("submit", "--file", path, "--dry-run", "--data-dir", competition_dir)
    assert_one_line_error(fkd(*arguments), "lie between 0.53 and 0.53", "--accept-implausible")
    assert fkd(*arguments, "--accept-implausible").code == 0
    with pytest.raises(SubmissionError, match="lie between"):
        pipeline.prepare_submission(path, competition_dir, tmp_path)


def test_the_same_content_is_submitted_again_only_after_a_confirmation(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fkd("fetch").code == 0
    path = write_submission(Path("data"), Path("own.csv"))
    assert fkd("submit", "--file", path).code == 0
    (first,) = practice.store.submissions()
    Path("submissions").mkdir(exist_ok=True)
    copy = Path(shutil.copy(path, "submissions/copy.csv"))

    for again in (path, copy):
        refused = fkd("submit", "--file", again, "--submissions-dir", ".")
        assert_one_line_error(refused, "Submit the same file again?", "--yes")
        assert refused.code == 2
        printed = " ".join(refused.out.split())
        assert f"{datetime.now(UTC):%Y-%m-%d}" in printed
        assert f"as own.csv, score: {first.public_score:.3f} public" in printed
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert fkd("submit", "--file", path).code == 0
    assert fkd("submit", "--file", path, "--yes").code == 0
    assert fkd("submit", "--file", write_submission(Path("data"), path, "47.5")).code == 0
    assert len(practice.store.submissions()) == 4

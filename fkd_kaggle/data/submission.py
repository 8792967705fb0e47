"""Submission files: locations picked from predictions, checked, written with a record, and listed.

What Kaggle would reject is refused: the rows must be those of the lookup table, in any order, and
each location a number inside the image. The record is a JSON file beside the CSV: the run it comes
from, its scores and, after the upload, Kaggle's scores. Uploads nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle import files, keypoints
from fkd_kaggle.data.faces import Lookup
from fkd_kaggle.errors import SubmissionError
from fkd_kaggle.formatting import file_stem

HEADER: Final = ("RowId", "Location")
"""Columns of a submission, and of a file of solutions."""

DECIMALS: Final = 5
"""Decimals of a location. 1e-5 pixels is far below any label's accuracy; more make files larger."""


_ORIGIN: Final = ("run", "runs", "recipes", "scores", "data")
"""Entries of a record that say where the content with the record's digest comes from."""


@dataclass(frozen=True)
class Submission:
    """The content of a submission file: a location for each row of the lookup table."""

    row_ids: np.ndarray
    """(M,) int64."""
    locations: np.ndarray
    """(M,) float64 pixels."""


@dataclass(frozen=True)
class LocalSubmission:
    """A submission file and its record; fields are None where unknown."""

    path: Path
    run: str
    """Name of the run it comes from; empty where unknown.

    For a file that has changed since its upload, the run that was uploaded."""
    created: datetime | None
    expected: float | None
    """The run's expected leaderboard score in pixels; None if the file has changed."""
    public_score: float | None
    private_score: float | None
    ref: int | None
    """Kaggle's number of the submission, once uploaded."""
    runs: tuple[str, ...] = ()
    """Names of the runs, where several were blended."""


def build_submission(predictions: np.ndarray, ids: np.ndarray, lookup: Lookup) -> Submission:
    """Select the coordinates that the lookup table queries and clip them to the image.

    Parameters
    ----------
    predictions
        (N, 15, 2) float pixels.
    ids
        (N,) int64 ImageId of each prediction, in any order.
    lookup
        The coordinate that each RowId queries.

    Raises
    ------
    SubmissionError
        Predictions and lookup table do not fit each other, or a queried prediction is not finite.
    """
    _check_predictions(predictions, ids)
    order = np.argsort(ids, kind="stable")
    positions = np.searchsorted(ids, lookup.image_ids, sorter=order)
    rows = order[np.minimum(positions, len(ids) - 1)]
    unknown = ids[rows] != lookup.image_ids
    if (position := _first(unknown)) is not None:
        raise SubmissionError(
            f"the lookup table's RowId {lookup.row_ids[position]} asks for ImageId "
            f"{lookup.image_ids[position]}, which was not predicted: the test set and the lookup "
            "table do not fit each other; run `fkd-kaggle fetch --force`"
        )
    coordinates = predictions.reshape(len(ids), 2 * keypoints.NUM_KEYPOINTS)
    queried = coordinates[rows, lookup.features].astype(np.float64)
    if (position := _first(~np.isfinite(queried))) is not None:
        raise SubmissionError(
            f"the prediction for RowId {lookup.row_ids[position]} (ImageId "
            f"{lookup.image_ids[position]}, {keypoints.COLUMNS[lookup.features[position]]}) is "
            f"{queried[position]}, not a number of pixels: the run did not train properly"
        )
    clipped = np.clip(queried, 0.0, float(keypoints.IMAGE_SIZE)).round(DECIMALS)
    return Submission(lookup.row_ids.astype(np.int64), clipped)


def validate_submission(submission: Submission, lookup: Lookup) -> None:
    """Check that a submission has the lookup table's rows in any order, and locations in the image.

    Raises
    ------
    SubmissionError
        Names the first wrong row.
    """
    row_ids, locations = submission.row_ids, submission.locations
    check_row_ids(row_ids, lookup.row_ids)
    inside = np.isfinite(locations) & (locations >= 0) & (locations <= keypoints.IMAGE_SIZE)
    if (position := _first(~inside)) is not None:
        raise SubmissionError(
            f"RowId {row_ids[position]} has the location {locations[position]}: it must be a "
            f"number of pixels from 0 to {keypoints.IMAGE_SIZE}"
        )


def check_row_ids(row_ids: np.ndarray, queried: np.ndarray) -> None:
    """Refuse RowIds that are not the lookup table's in any order, naming the first wrong one.

    Parameters
    ----------
    row_ids
        (M,) int64 of the submission.
    queried
        (M,) int64 of the lookup table.

    Raises
    ------
    SubmissionError
        A row is missing, unknown or there twice.
    """
    if np.array_equal(row_ids, queried):
        return
    values, counts = np.unique(row_ids, return_counts=True)
    if (position := _first(counts > 1)) is not None:
        raise SubmissionError(f"RowId {values[position]} occurs {counts[position]} times")
    if (position := _first(~np.isin(queried, row_ids))) is not None:
        raise SubmissionError(
            f"RowId {queried[position]} is missing: the submission has {len(row_ids)} rows, "
            f"the lookup table {len(queried)}"
        )
    if (position := _first(~np.isin(row_ids, queried))) is not None:
        raise SubmissionError(f"RowId {row_ids[position]} is not in the lookup table")


def submission_text(
    row_ids: Iterable[int], locations: Iterable[object], newline: str = "\n"
) -> str:
    """Return the text of a submission file, or of a file of solutions.

    Parameters
    ----------
    row_ids, locations
        Values of the rows; numbers are written with all their digits, texts as they are.
    newline
        Ends each line.
    """
    lines = [",".join(HEADER)]
    lines += [f"{row},{location}" for row, location in zip(row_ids, locations, strict=True)]
    return "".join(f"{line}{newline}" for line in lines)


def write_submission(
    submission: Submission,
    submissions_dir: Path,
    run_name: str,
    now: datetime,
    notes: Mapping[str, Any],
) -> Path:
    """Write ``<time>-<run>.csv`` and its record, a JSON file of the same stem.

    Parameters
    ----------
    submission
        The content, already checked.
    submissions_dir
        Folder to write to; created when needed.
    run_name
        Name of the run it comes from.
    now
        Time of creation, with its time zone.
    notes
        Further entries of the record: "recipes" (digest by name), "scores" (the run's
        cross-validated scores, "expected" among them), "data" (the data set's fingerprint).

    Returns
    -------
    The path of the CSV file. Its record is written first, so that no CSV is without one. If the
    folder has a file with the same content that was uploaded and waits for its score, its path is
    returned and no file is written.
    """
    text = submission_text(submission.row_ids.tolist(), submission.locations.tolist())
    digest = hashlib.sha256(text.encode()).hexdigest()
    for earlier in list_submissions(submissions_dir):
        if find_waiting(earlier.path) is not None and files.sha256(earlier.path) == digest:
            return earlier.path
    stem = file_stem(run_name, max_length=150).replace("+", "-") or "run"
    path = _free_path(submissions_dir, f"{now:%Y%m%d-%H%M%S}-{stem}")
    record = {
        **notes,
        "file": path.name,
        "sha256": digest,
        "rows": len(submission.row_ids),
        "run": run_name,
        "created": now.isoformat(timespec="seconds"),
        "kaggle": None,
    }
    files.write_json(path.with_suffix(".json"), record)
    try:
        files.write_text(path, text)
    except BaseException:
        path.with_suffix(".json").unlink(missing_ok=True)
        raise
    return path


def record_score(
    path: Path,
    *,
    ref: int,
    public_score: float | None,
    private_score: float | None,
    waiting: bool = False,
) -> None:
    """Add Kaggle's scores to a submission file's record.

    Called after the upload, when the scores are unknown, and again when they are known. If the file
    was edited before its upload, the record no longer names a run and its scores.

    Parameters
    ----------
    path
        The CSV file.
    ref
        Kaggle's number of the submission.
    public_score, private_score
        RMSE in pixels, None while unknown.
    waiting
        Whether Kaggle has yet to score the submission. ``find_waiting`` finds it then.
    """
    digest = files.sha256(path)
    record = _read_record(path) or {"file": path.name, "run": "", "sha256": digest}
    record["kaggle"] = {"ref": ref, "public_score": public_score, "private_score": private_score}
    record.pop("waiting", None)
    if waiting:
        if record["sha256"] != digest:
            record = {key: value for key, value in record.items() if key not in _ORIGIN}
        record |= {"waiting": True, "sha256": digest}
    files.write_json(_record_path(path), record)


def find_waiting(path: Path) -> int | None:
    """Return Kaggle's number of a file's submission that has no score yet; None without.

    A file that has changed since its upload does not wait for a score.

    Parameters
    ----------
    path
        The CSV file.
    """
    record = _read_record(path) or {}
    kaggle = record.get("kaggle")
    ref = kaggle.get("ref") if isinstance(kaggle, dict) else None
    if record.get("waiting") is not True or not isinstance(ref, int):
        return None
    return ref if _is_unchanged(path, record) else None


def find_uploads(path: Path, *submissions_dirs: Path) -> set[int]:
    """Return Kaggle's numbers of the submissions that have a file's content.

    Parameters
    ----------
    path
        The CSV file.
    submissions_dirs
        Folders of files that may have been uploaded, beside the folder of ``path``.
    """
    digest, found = files.sha256(path), set()
    others = {path.absolute()}
    for folder in {path.parent.absolute(), *(one.absolute() for one in submissions_dirs)}:
        others.update(folder.glob("*.csv"))
    for other in others:
        # The record has the digest of what was uploaded, also if the file has changed since.
        record = _read_record(other) or {}
        kaggle = record.get("kaggle")
        ref = kaggle.get("ref") if isinstance(kaggle, dict) else None
        if isinstance(ref, int) and record.get("sha256") == digest:
            found.add(ref)
    return found


def read_run_scores(path: Path) -> Mapping[str, Any] | None:
    """Return the scores of the run that a submission file comes from, as its record has them.

    None if the file has no record, or was changed after the record was written.
    """
    record = _read_record(path)
    if record is None or not _is_unchanged(path, record):
        return None
    scores = record.get("scores")
    return scores if isinstance(scores, dict) else None


def list_submissions(submissions_dir: Path) -> list[LocalSubmission]:
    """List the submission files of a folder, newest first, those without a record included."""
    paths = sorted(submissions_dir.glob("*.csv"), key=lambda path: path.name, reverse=True)
    return [_describe(path) for path in paths if not path.name.startswith(".")]


def _check_predictions(predictions: np.ndarray, ids: np.ndarray) -> None:
    """Refuse predictions of another shape, of no faces, or of a face twice."""
    if predictions.shape != (len(ids), keypoints.NUM_KEYPOINTS, 2):
        raise SubmissionError(
            f"predictions for {len(ids)} faces must have the shape "
            f"({len(ids)}, {keypoints.NUM_KEYPOINTS}, 2), not {predictions.shape}"
        )
    if not len(ids):
        raise SubmissionError("there are no predictions: the test set is empty")
    values, counts = np.unique(ids, return_counts=True)
    if (position := _first(counts > 1)) is not None:
        raise SubmissionError(
            f"ImageId {values[position]} was predicted {counts[position]} times: the test set "
            "lists it more than once; run `fkd-kaggle fetch --force`"
        )


def _first(wrong: np.ndarray) -> int | None:
    """Return the first position at which ``wrong``, (M,) bool, is True; None without any."""
    positions = np.flatnonzero(wrong)
    return int(positions[0]) if len(positions) else None


def _free_path(folder: Path, stem: str) -> Path:
    """Return a CSV path that does not exist yet; submissions of one second are numbered."""
    path, number = folder / f"{stem}.csv", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.csv", number + 1
    return path


def _record_path(path: Path) -> Path:
    """Return the path of a submission file's record.

    A JSON file of the same stem that is not a record is the user's own and stays unchanged.
    """
    usual = path.with_suffix(".json")
    if not usual.exists() or _load_record(usual) is not None:
        return usual
    return path.with_name(f"{path.name}.submission.json")


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return a submission file's record; None without a valid one."""
    return _load_record(_record_path(path))


def _load_record(path: Path) -> dict[str, Any] | None:
    """Return the content of a record; None if the file is missing, damaged or no record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and {"file", "sha256"} <= record.keys() else None


def _is_unchanged(path: Path, record: Mapping[str, Any]) -> bool:
    """Return whether a file has the content that its record describes."""
    return bool(record["sha256"] == files.sha256(path))


def _describe(path: Path) -> LocalSubmission:
    """Return a submission file with what its record says."""
    record = _read_record(path) or {}
    kaggle = record.get("kaggle") or {}
    try:
        is_unchanged = not record or _is_unchanged(path, record)
    except OSError:  # listed all the same
        is_unchanged = False
    if not is_unchanged:
        # The runs of an uploaded file are kept: they are those of Kaggle's scores.
        dropped = ("scores",) if kaggle.get("ref") is not None else _ORIGIN
        record = {key: value for key, value in record.items() if key not in dropped}
    scores = record.get("scores") or {}
    try:
        created = datetime.fromisoformat(record["created"])
    except (KeyError, TypeError, ValueError):
        created = None
    return LocalSubmission(
        path=path,
        run=record.get("run", ""),
        created=created,
        expected=scores.get("expected"),
        public_score=kaggle.get("public_score"),
        private_score=kaggle.get("private_score"),
        ref=kaggle.get("ref"),
        runs=tuple(map(str, record.get("runs") or ())),
    )

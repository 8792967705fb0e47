"""Predictions and the lookup table become the file that Kaggle scores, with a note beside it.

Refuses to write what Kaggle would reject: every RowId once, in the lookup table's order, each
location finite and inside the frame. Knows nothing of the network and prints nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fkd_kaggle import files, keypoints
from fkd_kaggle.errors import SubmissionError

if TYPE_CHECKING:
    from fkd_kaggle.data.faces import Lookup

HEADER: Final = ("RowId", "Location")

DECIMALS: Final = 5
"""Locations are rounded to this many decimals: 1e-5 pixels is far below any label's accuracy and
keeps the file at a third of its size."""


@dataclass(frozen=True)
class Submission:
    """What is sent to Kaggle: one location for each asked row."""

    row_ids: np.ndarray
    """(M,) int64"""
    locations: np.ndarray
    """(M,) float64, pixels"""


@dataclass(frozen=True)
class LocalSubmission:
    """A submission file of ours and what is known about it; None where nothing is."""

    path: Path
    run: str
    created: datetime | None
    expected: float | None
    """The run's cross-validated score in pixels: what the leaderboard should say."""
    public_score: float | None
    private_score: float | None
    ref: int | None
    """Kaggle's number for it, once uploaded."""


def build_submission(predictions: np.ndarray, ids: np.ndarray, lookup: Lookup) -> Submission:
    """Pick what the lookup table asks for and clip it to the frame.

    Parameters
    ----------
    predictions
        (N, 15, 2) float, pixels.
    ids
        (N,) int64, the ImageId of each prediction, in any order.
    lookup
        Which coordinate of which image each RowId asks for.

    Raises
    ------
    SubmissionError
        Predictions and lookup table do not fit each other, or an asked prediction is not finite.
    """
    _check_predictions(predictions, ids)
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids, lookup.image_ids, sorter=order)
    rows = order[np.minimum(places, len(ids) - 1)]
    unknown = ids[rows] != lookup.image_ids
    if (position := _first(unknown)) is not None:
        raise SubmissionError(
            f"the lookup table's RowId {lookup.row_ids[position]} asks for ImageId "
            f"{lookup.image_ids[position]}, which was not predicted: the test set and the lookup "
            "table do not fit each other; run `fkd-kaggle fetch --force`"
        )
    coordinates = predictions.reshape(len(ids), 2 * keypoints.NUM_KEYPOINTS)
    asked = coordinates[rows, lookup.features].astype(np.float64)
    if (position := _first(~np.isfinite(asked))) is not None:
        raise SubmissionError(
            f"the prediction for RowId {lookup.row_ids[position]} (ImageId "
            f"{lookup.image_ids[position]}, {keypoints.COLUMNS[lookup.features[position]]}) is "
            f"{asked[position]}, not a number of pixels: the run did not train properly"
        )
    clipped = np.clip(asked, 0.0, float(keypoints.IMAGE_SIZE)).round(DECIMALS)
    return Submission(lookup.row_ids.astype(np.int64), clipped)


def validate_submission(submission: Submission, lookup: Lookup) -> None:
    """Raise unless ``submission`` answers the lookup table, row by row and inside the frame.

    Raises
    ------
    SubmissionError
        Naming the first offending row.
    """
    row_ids, locations = submission.row_ids, submission.locations
    _check_row_ids(row_ids, lookup.row_ids)
    inside = np.isfinite(locations) & (locations >= 0) & (locations <= keypoints.IMAGE_SIZE)
    if (position := _first(~inside)) is not None:
        raise SubmissionError(
            f"RowId {row_ids[position]} has the location {locations[position]}: it must be a "
            f"number of pixels from 0 to {keypoints.IMAGE_SIZE}"
        )


def read_submission(path: Path) -> Submission:
    """Read a submission file.

    Raises
    ------
    SubmissionError
        The file is missing or not a submission; names the first offending line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"cannot read the submission {path}: {error}") from error
    if not lines or tuple(lines[0]) != HEADER:
        found = ",".join(lines[0]) if lines else "an empty file"
        raise SubmissionError(f"{path} is no submission: expected RowId,Location, found {found!r}")
    row_ids = np.empty(len(lines) - 1, dtype=np.int64)
    locations = np.empty(len(lines) - 1, dtype=np.float64)
    for position, fields in enumerate(lines[1:]):
        try:
            row_id, location = fields
            row_ids[position], locations[position] = int(row_id), float(location)
        except (ValueError, OverflowError) as error:
            raise SubmissionError(
                f"{path} line {position + 2} is {','.join(fields)!r}: expected a RowId and a "
                "location in pixels"
            ) from error
    return Submission(row_ids, locations)


def write_submission(
    submission: Submission,
    submissions_dir: Path,
    run_name: str,
    now: datetime,
    notes: Mapping[str, Any],
) -> Path:
    """Write ``<time>-<run>.csv`` and, beside it, what it came from as JSON of the same stem.

    ``notes`` is what is worth keeping with the file: ``recipes`` (name → digest), ``scores`` (the
    run's cross-validated scores, ``expected`` among them), ``data`` (the data set's fingerprint).
    The note is written first: where a CSV file is, its note is. Returns the CSV file's path.
    """
    rows = zip(submission.row_ids.tolist(), submission.locations.tolist(), strict=True)
    text = "".join([",".join(HEADER), "\n", *(f"{row},{at!r}\n" for row, at in rows)])
    path = _free_path(submissions_dir, f"{now:%Y%m%d-%H%M%S}-{_slug(run_name)}")
    note = {
        **notes,
        "file": path.name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "rows": len(submission.row_ids),
        "run": run_name,
        "created": now.isoformat(timespec="seconds"),
        "kaggle": None,
    }
    files.write_json(path.with_suffix(".json"), note)
    try:
        files.write_text(path, text)
    except BaseException:
        path.with_suffix(".json").unlink(missing_ok=True)  # a note of nothing
        raise
    return path


def record_score(
    path: Path,
    *,
    ref: int,
    public_score: float | None,
    private_score: float | None,
) -> None:
    """Note beside a submission file what Kaggle made of it.

    Called once after the upload, with the scores unknown, and again when they are there.
    """
    note = _read_record(path) or {"file": path.name, "run": "", "sha256": files.sha256(path)}
    note["kaggle"] = {"ref": ref, "public_score": public_score, "private_score": private_score}
    files.write_json(path.with_suffix(".json"), note)


def list_submissions(submissions_dir: Path) -> list[LocalSubmission]:
    """List the submission files of a folder, newest first; a file without a note is listed too."""
    paths = sorted(submissions_dir.glob("*.csv"), key=lambda path: path.name, reverse=True)
    return [_describe(path) for path in paths if not path.name.startswith(".")]


def _check_predictions(predictions: np.ndarray, ids: np.ndarray) -> None:
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


def _check_row_ids(row_ids: np.ndarray, asked: np.ndarray) -> None:
    if np.array_equal(row_ids, asked):
        return
    values, counts = np.unique(row_ids, return_counts=True)
    if (position := _first(counts > 1)) is not None:
        raise SubmissionError(f"RowId {values[position]} is answered {counts[position]} times")
    if (position := _first(~np.isin(asked, row_ids))) is not None:
        raise SubmissionError(
            f"RowId {asked[position]} is not answered: the submission has {len(row_ids)} rows, "
            f"the lookup table asks for {len(asked)}"
        )
    if (position := _first(~np.isin(row_ids, asked))) is not None:
        raise SubmissionError(f"RowId {row_ids[position]} is not in the lookup table")
    position = int(np.flatnonzero(row_ids != asked)[0])
    raise SubmissionError(
        f"row {position + 1} answers RowId {row_ids[position]} where the lookup table has "
        f"{asked[position]}: the rows must keep the lookup table's order"
    )


def _first(wrong: np.ndarray) -> int | None:
    """Return the first position at which ``wrong`` holds, if any."""
    positions = np.flatnonzero(wrong)
    return int(positions[0]) if len(positions) else None


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"


def _free_path(folder: Path, stem: str) -> Path:
    """Return a CSV path in ``folder`` that is not taken: two submissions may share a second."""
    path, number = folder / f"{stem}.csv", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.csv", number + 1
    return path


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _describe(path: Path) -> LocalSubmission:
    note = _read_record(path) or {}
    kaggle = note.get("kaggle") or {}
    scores = note.get("scores") or {}
    try:
        created = datetime.fromisoformat(note["created"])
    except (KeyError, TypeError, ValueError):
        created = None
    return LocalSubmission(
        path=path,
        run=note.get("run", ""),
        created=created,
        expected=scores.get("expected"),
        public_score=kaggle.get("public_score"),
        private_score=kaggle.get("private_score"),
        ref=kaggle.get("ref"),
    )

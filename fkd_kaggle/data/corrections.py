"""Corrections of training labels: corrections.csv, as the report's page saves it.

One row corrects one label: it moves the label, drops it, or confirms that it is right. training.csv
itself is never changed; ``apply_corrections`` returns corrected faces. The columns are::

    row,keypoint,x,y,action,label_x,label_y
    2091,nose_tip,46.25,61.50,moved,47.00,52.10
    1878,mouth_left_corner,,,dropped,66.10,80.20

``row`` is the row of training.csv, from 1. ``action`` may be missing: a row with x and y is then
"moved", a row without them "dropped". ``label_x`` and ``label_y`` may be missing; otherwise they
are compared with the label, so that a file for another data set is refused.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import IMAGE_SIZE, KEYPOINT_NAMES

ACTIONS: Final = ("moved", "dropped", "confirmed")

COLUMNS: Final = ("row", "keypoint", "x", "y", "action", "label_x", "label_y")

_TOLERANCE: Final = 0.011
"""Pixels by which label_x and label_y may differ from the label; they have two decimals."""


@dataclass(frozen=True)
class Correction:
    """What happens to one label."""

    row: int
    """Row of training.csv, from 1."""
    keypoint: int
    """Position in ``KEYPOINT_NAMES``."""
    action: str
    """One of ``ACTIONS``."""
    x: float
    """New x in pixels; NaN if dropped."""
    y: float
    """New y in pixels; NaN if dropped."""


def read_corrections(path: Path, training: Faces) -> tuple[Correction, ...]:
    """Read corrections and check that they fit the training faces.

    Parameters
    ----------
    path
        A corrections.csv.
    training
        All N training faces, with the labels of training.csv.

    Raises
    ------
    DataError
        The file is missing or damaged; names the line and the wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a corrections file: it is not UTF-8 text") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    reader = csv.DictReader(io.StringIO(text), strict=True, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        _fail(path, reader.line_num, f"is not CSV ({error})")
    _check_header(path, reader.fieldnames or ())
    found: dict[tuple[int, int], int] = {}
    corrections = []
    for line, row in rows:
        if None in row:
            _fail(path, line, "has more cells than the header")
        correction = _parse(path, line, row, training)
        place = (correction.row, correction.keypoint)
        if place in found:
            name = KEYPOINT_NAMES[correction.keypoint]
            _fail(
                path,
                line,
                f"corrects {name} of row {correction.row} again (see line {found[place]})",
            )
        found[place] = line
        corrections.append(correction)
    if not corrections:
        raise DataError(f"{path} contains no correction: save it from the page of a report")
    return tuple(corrections)


def apply_corrections(training: Faces, corrections: Iterable[Correction]) -> Faces:
    """Return training faces with corrected labels; dropped labels are NaN.

    Parameters
    ----------
    training
        All N training faces.
    corrections
        Corrections that ``read_corrections`` returned for these faces.
    """
    keypoints = np.array(training.keypoints)
    for correction in corrections:
        if correction.action != "confirmed":
            keypoints[correction.row - 1, correction.keypoint] = (correction.x, correction.y)
    return Faces(training.images, keypoints, training.ids)


def count_actions(corrections: Iterable[Correction]) -> dict[str, int]:
    """Return the number of corrections by action."""
    actions = [correction.action for correction in corrections]
    return {action: actions.count(action) for action in ACTIONS}


def describe_corrections(corrections: Iterable[Correction]) -> str:
    """Return the numbers of corrections as a phrase, such as "3 labels moved, 1 dropped"."""
    counts = {action: count for action, count in count_actions(corrections).items() if count}
    parts = [f"{count} {action}" for action, count in counts.items()]
    return "labels: " + ", ".join(parts)


def write_corrections(path: Path, corrections: Iterable[Correction], training: Faces) -> None:
    """Write corrections.csv for training faces.

    Parameters
    ----------
    path
        The file to write.
    corrections
        The corrections.
    training
        All N training faces, with the labels of training.csv.
    """
    rows = []
    for one in corrections:
        label = training.keypoints[one.row - 1, one.keypoint]
        new = ("", "") if one.action == "dropped" else (f"{one.x:.2f}", f"{one.y:.2f}")
        name = KEYPOINT_NAMES[one.keypoint]
        rows.append((one.row, name, *new, one.action, f"{label[0]:.2f}", f"{label[1]:.2f}"))
    files.write_csv(path, COLUMNS, rows)


def _check_header(path: Path, header: Iterable[str]) -> None:
    names = list(header)
    if missing := [name for name in COLUMNS[:4] if name not in names]:
        raise DataError(
            f"{path} lacks the column {missing[0]}: expected the header {','.join(COLUMNS)}"
        )
    if unknown := [name for name in names if name not in COLUMNS]:
        raise DataError(f"{path}: " + unknown_name("column", str(unknown[0])[:40], COLUMNS))
    if len(set(names)) < len(names):
        raise DataError(f"{path} has a column twice in its header: {','.join(names)[:80]}")


def _parse(path: Path, line: int, row: Mapping[str, str | None], training: Faces) -> Correction:
    """Return the correction of one row."""
    cells = {name: (value or "").strip() for name, value in row.items()}
    if cells["keypoint"] not in KEYPOINT_NAMES:
        _fail(path, line, unknown_name("keypoint", cells["keypoint"][:60], KEYPOINT_NAMES))
    point = KEYPOINT_NAMES.index(cells["keypoint"])
    number = _row_number(path, line, cells["row"], len(training.images))
    label = training.keypoints[number - 1, point]
    if np.isnan(label[0]):
        _fail(path, line, f"row {number} of training.csv has no label {cells['keypoint']}")
    _check_label(path, line, cells, label)
    action = _action(path, line, cells)
    if action == "dropped":
        return Correction(number, point, action, math.nan, math.nan)
    if action == "confirmed":
        return Correction(number, point, action, float(label[0]), float(label[1]))
    x, y = (_coordinate(path, line, axis, cells[axis]) for axis in "xy")
    return Correction(number, point, action, x, y)


def _action(path: Path, line: int, cells: Mapping[str, str]) -> str:
    """Return the action of a row, derived from x and y where the column is empty."""
    if {cells["x"].lower(), cells["y"].lower()} == {"dropped"}:
        return "dropped"
    given = cells.get("action", "")
    has_position = bool(cells["x"] or cells["y"])
    action = given.lower() or ("moved" if has_position else "dropped")
    if action not in ACTIONS:
        _fail(path, line, unknown_name("action", given[:40], ACTIONS))
    if action == "dropped" and has_position:
        _fail(path, line, "drops a label but gives x or y: leave both empty, or write moved")
    return action


def _row_number(path: Path, line: int, text: str, count: int) -> int:
    try:
        number = int(text)
    except ValueError:
        _fail(path, line, f"row {text[:40]!r} is not a whole number")
    if not 1 <= number <= count:
        _fail(path, line, f"row {number} does not exist: training.csv has rows 1 to {count}")
    return number


def _coordinate(path: Path, line: int, axis: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        _fail(path, line, f"{axis} is {text[:40]!r}: expected pixels from 0 to {IMAGE_SIZE}")
    if not 0 <= value <= IMAGE_SIZE:
        _fail(path, line, f"{axis} is {text[:40]}: expected pixels from 0 to {IMAGE_SIZE}")
    return value


def _check_label(path: Path, line: int, cells: Mapping[str, str], label: np.ndarray) -> None:
    """Refuse a row whose label_x and label_y are not the label of training.csv."""
    for axis, value in zip("xy", label.tolist(), strict=True):
        text = cells.get(f"label_{axis}", "")
        if not text:
            continue
        try:
            same = abs(float(text) - value) <= _TOLERANCE
        except ValueError:
            same = False
        if not same:
            _fail(
                path,
                line,
                f"label_{axis} is {text[:40]}, but training.csv has {value:.2f}: the file was made "
                "for another data set",
            )


def _fail(path: Path, line: int, problem: str) -> NoReturn:
    raise DataError(f"{path} line {line}: {problem}")

"""Whether labels and submissions are pixels of 96×96 faces, and what they probably are instead.

A mean face is compared with the competition's. If a common mistake (labels divided by 96, x and y
exchanged, …) explains the difference, the data are refused with that cause. Data without a
likely cause are refused only if their numbers cannot be pixels. Callers offer to accept them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COLUMNS, FLIP_ORDER, IMAGE_SIZE, KEYPOINT_NAMES, NUM_KEYPOINTS

ACCEPT: Final = "--accept-implausible"
"""The option with which such data are used all the same."""

_TYPICAL_FACE: Final = np.array(
    [
        [64.6, 37.5],
        [31.6, 37.9],
        [57.9, 38.3],
        [71.0, 37.6],
        [38.2, 38.5],
        [25.3, 38.3],
        [56.7, 28.7],
        [77.9, 30.1],
        [39.1, 29.2],
        [18.0, 31.0],
        [48.9, 59.2],
        [62.0, 72.2],
        [35.5, 72.6],
        [48.9, 69.5],
        [49.2, 79.0],
    ]
)
"""(15, 2) pixels: means of the labels of the competition's training.csv."""

_SIDES: Final = (32, 48, 64, 128, 160, 192, 200, 224, 256, 299, 384, 512)
"""Usual sides of resized images in pixels."""

_GOOD: Final = 12.0
"""Largest RMS distance from the typical face in pixels that needs no explanation."""

_EXPLAINED: Final = 11.0
"""Largest RMS distance in pixels after the mistake is undone."""

_TINY: Final = 4.0
"""If no coordinate is larger, in pixels, they are not pixels: all points would lie in a corner."""

_FEW: Final = 1.0
"""Pixels. If the keypoints of the mean face are nearer to each other, they are no face."""

_FILLED: Final = 0.002
"""Share of a keypoint's labels with the same number for x and y, 0 or less, from which missing
labels were filled with it."""

_FAR: Final = 4.0 * IMAGE_SIZE
"""A label farther from the image, in pixels, is no label of a face."""


def check_training(training: Faces, *, accept: bool = False) -> None:
    """Refuse training faces without labels, and labels that are not pixels of the faces.

    Parameters
    ----------
    training
        The training faces.
    accept
        Whether to refuse only data without any label.

    Raises
    ------
    DataError
        Names the numbers and the likely cause.
    """
    labels = training.keypoints
    labelled = np.isfinite(labels).all(-1)
    count = len(labels)
    if not labelled.any():
        raise DataError(
            f"training.csv has no label: the {len(COLUMNS)} columns of its {count} rows are empty, "
            "so there is nothing to learn from; it may be a test set"
        )
    if accept:
        return
    if int(training.images.max()) <= 1:
        raise DataError(
            "training.csv: all grey values are 0 or 1, so the images were scaled: 0 to 255 are "
            f"due; {ACCEPT} uses them"
        )
    flat = training.images.reshape(count, -1)
    blank = int((flat.min(1) == flat.max(1)).sum())
    if 2 * blank > count:
        raise DataError(
            f"training.csv: {blank} of {count} images have one grey value only, so nothing can be "
            f"learned from them; {ACCEPT} trains on them"
        )
    missing = [KEYPOINT_NAMES[point] for point in np.flatnonzero(~labelled.any(0))]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"training.csv has no label of {', '.join(missing[:3])}{more}, so that these keypoints "
            f"cannot be learned; {ACCEPT} trains the others"
        )
    values = labels[np.isfinite(labels)].astype(np.float64)
    far = np.argwhere((labels < -_FAR) | (labels > _FAR + IMAGE_SIZE))
    medians = [np.median(labels[labelled[:, point], point], 0) for point in range(NUM_KEYPOINTS)]
    cause = find_cause(np.array(medians, np.float64))
    bounds = f"lie between {values.min():.4g} and {values.max():.4g}"
    if not cause and np.ptp(medians, axis=0).max() <= _FEW and np.abs(values).max() > _TINY:
        cause = "and all keypoints lie at the same place"
    cause = cause or _find_fill(labels, labelled)
    if cause:
        raise DataError(
            f"training.csv: the labels are not pixels of the faces: they {bounds}, {cause}; "
            f"{ACCEPT} trains on them"
        )
    if len(far):
        row, point, axis = (int(index) for index in far[0])
        raise DataError(
            f"training.csv, row {row + 1}, column {COLUMNS[2 * point + axis]}: "
            f"{labels[row, point, axis]:.4g} is not a pixel of a 96×96 image; {ACCEPT} trains on it"
        )
    tiny = labelled.any(1) & (np.nan_to_num(np.abs(labels)).max((1, 2)) <= _TINY)
    if tiny.any():
        row = int(tiny.argmax())
        largest = float(np.nanmax(np.abs(labels[row])))
        which = "all rows" if tiny.all() else f"{tiny.sum()} of {count} rows"
        raise DataError(
            f"training.csv, row {row + 1}: no label is larger than {largest:.4g}, as in {which}: "
            f"pixels are due, 0 to 96; {ACCEPT} trains on them"
        )


def check_locations(row_ids: np.ndarray, locations: np.ndarray, lookup: Lookup) -> None:
    """Refuse a submission whose locations are not pixels of faces.

    Parameters
    ----------
    row_ids
        (M,) int64, those of the lookup table in any order.
    locations
        (M,) float64 pixels.
    lookup
        The coordinate that each RowId queries.

    Raises
    ------
    DataError
        Names the numbers and the likely cause.
    """
    if not len(locations):
        return
    features = lookup.features[
        np.argsort(lookup.row_ids)[np.searchsorted(np.sort(lookup.row_ids), row_ids)]
    ]
    bounds = f"all {len(locations)} locations lie between {locations.min():.4g} and "
    bounds += f"{locations.max():.4g}"
    if not locations.any():
        raise DataError(
            f"all {len(locations)} locations are 0, as in SampleSubmission.csv: these are no "
            f"predictions; {ACCEPT} submits them"
        )
    medians = np.full(len(COLUMNS), np.nan)
    for feature in np.unique(features):
        medians[feature] = np.median(locations[features == feature])
    if cause := find_cause(medians.reshape(-1, 2)):
        raise DataError(f"{bounds}, {cause}; {ACCEPT} submits them")
    if np.abs(locations).max() <= _TINY:
        raise DataError(f"{bounds}: pixels are due, 0 to 96; {ACCEPT} submits them")


def find_cause(means: np.ndarray) -> str | None:
    """Return what is wrong with a mean face, as a clause; None if it can be one.

    Parameters
    ----------
    means
        (15, 2) mean or median position of each keypoint; NaN where there is none.
    """
    known = np.isfinite(means).all(1)
    if known.sum() < 2:
        return None
    if found := _find_impossible(means[known]):
        explained = _explain(means, known)
        return f"as if {explained}" if explained else found
    if _distance(means, known) <= _GOOD:
        return None
    cause = _explain(means, known)
    return f"as if {cause}" if cause else None


def _find_impossible(means: np.ndarray) -> str | None:
    """Return why the (P, 2) keypoints of a mean face are no pixels of a face; None if they can be.

    One axis can be wrong although the whole face is near the typical one.
    """
    tiny = np.abs(means).max(0) <= _TINY
    for axis, name in enumerate("xy"):
        values = means[:, axis]
        if tiny[axis] and not tiny.all():
            return f"and no {name} of the mean face is larger than {np.abs(values).max():.4g}"
        if values.max() < 0:
            return f"and each {name} of the mean face is negative"
    return None


def _find_fill(labels: np.ndarray, labelled: np.ndarray) -> str | None:
    """Return that missing labels were filled with a number, 0 or less; None if they were not."""
    same = (
        labelled & (labels[..., 0] == labels[..., 1]) & (np.nan_to_num(labels[..., 0], nan=1) <= 0)
    )
    counts = same.sum(0)
    if counts.max() < max(2, _FILLED * len(labels)):
        return None
    point = int(counts.argmax())
    fill = labels[same[:, point], point, 0][0]
    return (
        f"and {counts[point]} of {len(labels)} labels of {KEYPOINT_NAMES[point]} are "
        f"({fill:g}, {fill:g}), as if missing labels were filled: leave them empty"
    )


def _explain(means: np.ndarray, known: np.ndarray) -> str | None:
    """Return the mistake that turns the typical face into a mean face, None without a likely one.

    The arguments are a mean face, (15, 2), and which of its keypoints are known, (15,) bool.
    """
    explanations = [
        (_distance(turned, known), f"{unit}{' and ' if unit and axes else ''}{axes}")
        for unit, pixels in _undo_units(means, known).items()
        for axes, turned in _undo_axes(pixels)
        if unit or axes
    ]
    distance, cause = min(explanations)
    limit = min(_EXPLAINED, _distance(means, known) / 2)
    return cause if distance <= limit else None


def _undo_units(means: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean face in pixels for each unit that it can be in."""
    half = IMAGE_SIZE / 2
    factor = max(float(np.sum(means[known]) / np.sum(_TYPICAL_FACE[known])), 0.05)
    side = min(_SIDES, key=lambda usual: abs(np.log(usual / IMAGE_SIZE / factor)))
    return {
        "": means,
        "they were divided by 96": means * IMAGE_SIZE,
        "they were scaled to −1…1, (label − 48)/48": means * half + half,
        "48 was subtracted": means + half,
        "they were standardized": _unstandardized(means),
        f"they belong to images of about {side}×{side} pixels": means / factor,
    }


def _unstandardized(means: np.ndarray) -> np.ndarray:
    """Return the typical face if all means are about 0, as after standardizing each column."""
    known = np.isfinite(means)
    return _TYPICAL_FACE if np.abs(means[known]).max() < 0.2 else np.full_like(means, 1e6)


def _undo_axes(means: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return the mean face for each way in which coordinates can be exchanged."""
    mirrored_x = np.array([IMAGE_SIZE - 1, 0]) + means * (-1, 1)
    mirrored_y = np.array([0, IMAGE_SIZE - 1]) + means * (1, -1)
    left_and_right = "left and right were exchanged, or x counted from the right"
    return [
        ("", means),
        ("x and y were exchanged", means[:, ::-1]),
        (left_and_right, means[list(FLIP_ORDER)]),
        (left_and_right, mirrored_x),
        ("y counted from below", mirrored_y),
    ]


def _distance(means: np.ndarray, known: np.ndarray) -> float:
    """Return the RMS distance in pixels of a mean face from the typical one."""
    if not np.isfinite(means[known]).all():
        return float("inf")
    difference = means[known] - _TYPICAL_FACE[known]
    return float(np.sqrt(np.square(difference).sum(-1).mean()))

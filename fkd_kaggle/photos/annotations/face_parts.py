"""Faces of a photo's point shapes: whole ones, and faces annotated in parts.

Annotators label each keypoint on its own (15 single points with a label each), or parts of the
face, grouped in CVAT or not. Parts become a face only if it is clear which belong together.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fkd_kaggle.keypoints import NUM_KEYPOINTS


@dataclass(frozen=True)
class Shape:
    """A ``<points>`` or ``<skeleton>`` element."""

    label: str
    points: np.ndarray | None
    """(P, 2) float64 photo pixels; None if the text does not consist of pairs of numbers."""
    group: str = ""
    """CVAT's number of the group that the shape belongs to; empty without."""
    is_skeleton: bool = False


def assemble_faces(shapes: Sequence[Shape], label: str) -> tuple[list[np.ndarray], list[str]]:
    """Return the faces of a photo, and why shapes are not used.

    Parameters
    ----------
    shapes
        All point shapes of the photo.
    label
        Label of whole faces. Empty if the file contains no whole face; then parts without a group
        are a face if the photo's parts have 15 points together.

    Returns
    -------
    (15, 2) float64 photo pixels per face, and one reason for each shape or group that is not used.
    """
    faces: list[np.ndarray] = []
    reasons: list[str] = []
    groups: dict[str, list[Shape]] = {}
    for shape in shapes:
        if shape.points is None:
            reasons.append("points that are not pairs of numbers")
        elif is_part(shape) and (shape.group or not label):
            groups.setdefault(shape.group, []).append(shape)
        elif label and fold_label(shape.label) != fold_label(label):
            reasons.append(f"points labelled {shape.label!r} are not {label!r}")
        elif len(shape.points) != NUM_KEYPOINTS:
            reasons.append(_wrong_count(shape))
        elif is_on_line(shape.points):
            reasons.append(f"all {NUM_KEYPOINTS} points lie on one line")
        else:
            faces.append(shape.points)
    for group, parts in groups.items():
        face = _join_parts(parts, label, grouped=bool(group))
        if isinstance(face, str):
            reasons.append(face)
        else:
            faces.append(face)
    return faces, reasons


def is_part(shape: Shape) -> bool:
    """Say whether a shape has fewer points than a face and is not a skeleton."""
    return not shape.is_skeleton and shape.points is not None and len(shape.points) < NUM_KEYPOINTS


def is_on_line(points: np.ndarray) -> bool:
    """Say whether (P, 2) points lie on one line, or all at one place."""
    long, short = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(short <= 1e-3 * long)


def fold_label(label: str) -> str:
    """Return a label without letter case, Unicode form and outer white space."""
    return unicodedata.normalize("NFC", label).strip().casefold()


def _join_parts(parts: Sequence[Shape], label: str, *, grouped: bool) -> np.ndarray | str:
    """Return the face of the parts that belong together, or why they are none."""
    points = np.concatenate([part.points for part in parts if part.points is not None])
    labels = [fold_label(part.label) for part in parts]
    if len(points) != NUM_KEYPOINTS:
        if len(parts) == 1:
            return _wrong_count(parts[0])
        if not grouped and len(points) % NUM_KEYPOINTS == 0:
            return (
                f"{len(points)} points in {len(parts)} shapes, as of "
                f"{len(points) // NUM_KEYPOINTS} faces: group the points of each face in CVAT"
            )
        where = "a group" if grouped else "the photo"
        return (
            f"{len(points)} points in the {len(parts)} shapes of {where} where a face has "
            f"{NUM_KEYPOINTS}"
        )
    if label and set(labels).isdisjoint({fold_label(label)}) and len(set(labels)) == 1:
        return f"points labelled {parts[0].label!r} are not {label!r}"
    if len(set(labels)) not in (1, len(labels)):
        twice = max(labels, key=labels.count)
        return f"{NUM_KEYPOINTS} points in {len(parts)} shapes, of which two are {twice!r}"
    if is_on_line(points):
        return f"all {NUM_KEYPOINTS} points lie on one line"
    return points


def _wrong_count(shape: Shape) -> str:
    """Return the reason for a shape with another number of points than a face."""
    count = 0 if shape.points is None else len(shape.points)
    what = "points of the skeleton are visible" if shape.is_skeleton else "points"
    return f"{count} {what} where a face has {NUM_KEYPOINTS}"

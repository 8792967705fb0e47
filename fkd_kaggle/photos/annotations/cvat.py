"""Reading CVAT's "for images 1.1" XML: which points somebody put into which photo.

A face is a ``<points>`` shape, or a ``<skeleton>`` of single points, with 15 points in any order:
names inside the file are not trusted, matching is ``evaluate``'s. What cannot be used is reported
and left out; only a file that cannot be read at all is an error. Other formats are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np

from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations
from fkd_kaggle.photos.images import SkippedInput


@dataclass(frozen=True)
class _Shape:
    label: str
    points: np.ndarray | None
    """(P, 2); None where they are not numbers."""


def read_cvat(path: Path, label: str | None = None) -> Annotations:
    """Read an annotation file.

    Parameters
    ----------
    label
        Take shapes with this label; by default the one that most shapes of 15 points have.

    Raises
    ------
    DataError
        The file is missing, no XML, of another format, or has no usable face.
    """
    images = [(image, list(_shapes(image))) for image in _root(path).iter("image")]
    if not images:
        raise DataError(f"{path} names no image: export from CVAT as 'CVAT for images 1.1'")
    label = _label(path, label, [shape for _, shapes in images for shape in shapes])
    photos, skipped = [], []
    for position, (image, shapes) in enumerate(images):
        name = image.get("name", "").strip()
        if not name:
            skipped.append(SkippedInput(f"image {image.get('id', position)}", "has no name"))
            continue
        faces = []
        for shape in shapes:
            why = _rejection_reason(shape, label)
            if why:
                skipped.append(SkippedInput(name, why))
            elif shape.points is not None:
                faces.append(shape.points)
        if not shapes:
            skipped.append(SkippedInput(name, "no points are annotated"))
        if faces:
            photos.append(AnnotatedPhoto(name, _size(image), tuple(faces)))
    if not photos:
        reasons = "; ".join(map(str, skipped[:3]))
        raise DataError(f"{path} has no face with {NUM_KEYPOINTS} points ({reasons})")
    return Annotations(tuple(photos), tuple(skipped), label)


def _root(path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype(path))
    try:
        with path.open("rb") as stream:
            root = ElementTree.parse(stream, parser).getroot()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the annotation file in it") from None
    except ElementTree.ParseError as error:
        line, column = error.position
        what = str(error).split(":")[0]
        raise DataError(f"{path}, line {line}, column {column + 1}: {what}") from None
    except (LookupError, ValueError) as error:  # an unknown or multi-byte encoding
        raise DataError(f"{path} cannot be read: {error}") from None
    if root.tag != "annotations":
        raise DataError(f"{path} is not a CVAT file: <{root.tag}> where <annotations> belongs")
    if root.find("track") is not None:
        raise DataError(f"{path} is 'CVAT for video': export it as 'CVAT for images 1.1'")
    return root


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds the tree, but stops at a DOCTYPE: CVAT writes none, and entity bombs need one."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def doctype(self, name: str, pubid: str, system: str) -> NoReturn:
        raise DataError(f"{self.path} has a DOCTYPE, which CVAT files have not: not read")


def _shapes(image: ElementTree.Element) -> Iterator[_Shape]:
    for shape in image:
        if shape.tag == "skeleton":
            parts = [part for part in shape.iter("points") if part.get("outside") != "1"]
            text = ";".join(part.get("points", "") for part in parts)
            yield _Shape(shape.get("label", ""), _points(text))
        elif shape.tag == "points":
            yield _Shape(shape.get("label", ""), _points(shape.get("points", "")))


def _points(text: str) -> np.ndarray | None:
    try:
        pairs = [[float(value) for value in pair.split(",")] for pair in text.split(";") if pair]
        points = np.array(pairs, np.float64).reshape(len(pairs), 2)
    except ValueError:
        return None
    return points if np.isfinite(points).all() else None


def _label(path: Path, label: str | None, shapes: list[_Shape]) -> str:
    known = list(dict.fromkeys(shape.label for shape in shapes))
    if label is not None:
        if label not in known:
            raise DataError(f"{path}: " + unknown_name("label", label, known))
        return label
    fit = Counter(
        shape.label
        for shape in shapes
        if shape.points is not None and len(shape.points) == NUM_KEYPOINTS
    )
    return fit.most_common(1)[0][0] if fit else ""


def _rejection_reason(shape: _Shape, label: str) -> str:
    """Return why a shape cannot be used; nothing where it can."""
    if label and shape.label != label:
        return f"points labelled {shape.label!r} are not {label!r}"
    if shape.points is None:
        return "points that are not pairs of numbers"
    if len(shape.points) != NUM_KEYPOINTS:
        return f"{len(shape.points)} points where a face has {NUM_KEYPOINTS}"
    if np.ptp(shape.points, axis=0).min() <= 0:
        return f"all {NUM_KEYPOINTS} points lie on one line"
    return ""


def _size(image: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(image.get("width", "")), int(image.get("height", ""))
    except ValueError:
        return None

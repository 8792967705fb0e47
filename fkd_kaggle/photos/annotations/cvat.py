"""Reader of the CVAT format "for images 1.1" (XML).

A face is a ``<points>`` shape, or a ``<skeleton>`` of single points, with 15 points in any order.
Names of points are ignored; ``photos.evaluation`` matches the points by position. Shapes and photos
that cannot be used are reported in ``Annotations.skipped``. Other formats are refused.
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
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations, SkippedInput


def read_cvat(path: Path, label: str | None = None) -> Annotations:
    """Read an annotation file.

    Parameters
    ----------
    path
        The XML file.
    label
        Use only shapes with this label. Default: the most frequent label among the shapes with
        15 points.

    Raises
    ------
    DataError
        The file is missing, is not XML, has another format, has no shape with ``label``, or
        contains no usable face.
    """
    shapes_by_image = [(image, list(_shapes(image))) for image in _read_root(path).iter("image")]
    if not shapes_by_image:
        raise DataError(f"{path} names no image: export from CVAT as 'CVAT for images 1.1'")
    label = _choose_label(path, label, [shape for _, shapes in shapes_by_image for shape in shapes])
    photos, skipped = [], []
    for position, (image, shapes) in enumerate(shapes_by_image):
        name = image.get("name", "").strip()
        if not name:
            skipped.append(SkippedInput(f"image {image.get('id', position)}", "has no name"))
            continue
        faces = []
        for shape in shapes:
            reason = _rejection_reason(shape, label)
            if reason:
                skipped.append(SkippedInput(name, reason))
            elif shape.points is not None:
                faces.append(shape.points)
        if not shapes:
            skipped.append(SkippedInput(name, "no points are annotated"))
        if faces:
            photos.append(AnnotatedPhoto(name, _image_size(image), tuple(faces)))
    if not photos:
        reasons = "; ".join(map(str, skipped[:3]))
        raise DataError(f"{path} has no face with {NUM_KEYPOINTS} points ({reasons})")
    return Annotations(tuple(photos), tuple(skipped), label)


@dataclass(frozen=True)
class _Shape:
    """A ``<points>`` or ``<skeleton>`` element."""

    label: str
    points: np.ndarray | None
    """(P, 2) float64 photo pixels; None if the text does not consist of pairs of numbers."""


class _DoctypeRefusingBuilder(ElementTree.TreeBuilder):
    """Tree builder that refuses a DOCTYPE.

    CVAT writes none, and attacks by entity expansion ("billion laughs") need one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def doctype(self, name: str, pubid: str, system: str) -> NoReturn:
        raise DataError(f"{self.path} contains a DOCTYPE, which CVAT does not write: not read")


def _read_root(path: Path) -> ElementTree.Element:
    """Parse the file and return its ``<annotations>`` element."""
    parser = ElementTree.XMLParser(target=_DoctypeRefusingBuilder(path))
    try:
        with path.open("rb") as stream:
            root = ElementTree.parse(stream, parser).getroot()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the annotation file in it") from None
    except ElementTree.ParseError as error:
        line, column = error.position
        problem = str(error).split(":")[0]
        raise DataError(f"{path}, line {line}, column {column + 1}: {problem}") from None
    except (LookupError, ValueError) as error:  # an unknown or multi-byte encoding
        raise DataError(f"{path} cannot be read: {error}") from None
    if root.tag != "annotations":
        raise DataError(f"{path} is not a CVAT file: <{root.tag}> where <annotations> belongs")
    if root.find("track") is not None:
        raise DataError(f"{path} is 'CVAT for video': export it as 'CVAT for images 1.1'")
    return root


def _shapes(image: ElementTree.Element) -> Iterator[_Shape]:
    """Yield the point shapes of an ``<image>`` element."""
    for shape in image:
        if shape.tag == "skeleton":
            parts = [part for part in shape.iter("points") if part.get("outside") != "1"]
            text = ";".join(part.get("points", "") for part in parts)
            yield _Shape(shape.get("label", ""), _parse_points(text))
        elif shape.tag == "points":
            yield _Shape(shape.get("label", ""), _parse_points(shape.get("points", "")))


def _parse_points(text: str) -> np.ndarray | None:
    """Return the (P, 2) points of a text such as "1.5,2;3,4", or None if it is not valid."""
    try:
        pairs = [[float(value) for value in pair.split(",")] for pair in text.split(";") if pair]
        points = np.array(pairs, np.float64).reshape(len(pairs), 2)
    except ValueError:
        return None
    return points if np.isfinite(points).all() else None


def _choose_label(path: Path, label: str | None, shapes: list[_Shape]) -> str:
    """Return the requested label if a shape has it, or the default label."""
    known = list(dict.fromkeys(shape.label for shape in shapes))
    if label is not None:
        if label not in known:
            raise DataError(f"{path}: " + unknown_name("label", label, known))
        return label
    counts = Counter(
        shape.label
        for shape in shapes
        if shape.points is not None and len(shape.points) == NUM_KEYPOINTS
    )
    return counts.most_common(1)[0][0] if counts else ""


def _rejection_reason(shape: _Shape, label: str) -> str:
    """Return why a shape cannot be used; an empty string if it can."""
    if label and shape.label != label:
        return f"points labelled {shape.label!r} are not {label!r}"
    if shape.points is None:
        return "points that are not pairs of numbers"
    if len(shape.points) != NUM_KEYPOINTS:
        return f"{len(shape.points)} points where a face has {NUM_KEYPOINTS}"
    if np.ptp(shape.points, axis=0).min() <= 0:
        return f"all {NUM_KEYPOINTS} points lie on one line"
    return ""


def _image_size(image: ElementTree.Element) -> tuple[int, int] | None:
    """Return the width and height of an ``<image>`` element, None if not written."""
    try:
        return int(image.get("width", "")), int(image.get("height", ""))
    except ValueError:
        return None

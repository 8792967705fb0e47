"""Reader of the CVAT format "for images 1.1" (XML), plain or packed as CVAT exports it.

A face is a ``<points>`` shape with 15 points, a ``<skeleton>``, or parts that have 15 points
together (``face_parts``), in any order. Names of points are ignored; ``photos.evaluation`` matches
the points by position. Shapes and photos that cannot be used are reported in
``Annotations.skipped``. Other formats are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn
from xml.etree import ElementTree

import numpy as np

from fkd_kaggle.data import packed
from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.photos.annotations.face_parts import Shape, assemble_faces, fold_label, is_on_line
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto, Annotations
from fkd_kaggle.photos.skipped_inputs import Relevance, SkippedInput, summarize_reasons

_MAX_BYTES: Final = 1 << 29
"""Largest annotation file after unpacking."""

_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

_PAIR: Final = re.compile(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*", re.ASCII)

_OTHER_SHAPES: Final = ("box", "polygon", "polyline", "ellipse", "mask", "cuboid", "tag")


def read_cvat(path: Path, label: str | None = None) -> Annotations:
    """Read an annotation file.

    Parameters
    ----------
    path
        The XML file, plain, packed with gzip, or in a zip as ``annotations.xml``.
    label
        Use only shapes with this label; letter case is ignored. Default: the most frequent label
        among the shapes with 15 points.

    Raises
    ------
    DataError
        The file is missing, is not XML, has another format, has no shape with ``label``, or
        contains no usable face.
    """
    shapes_by_image = [(image, list(_shapes(image))) for image in _read_root(path).iter("image")]
    if not shapes_by_image:
        raise DataError(f"{path} names no image: export from CVAT as 'CVAT for images 1.1'")
    all_shapes = [shape for _, shapes in shapes_by_image for shape in shapes]
    label = _choose_label(path, label, all_shapes)
    photos, skipped = [], []
    for position, (image, shapes) in enumerate(shapes_by_image):
        name = image.get("name", "").strip()
        if not name:
            skipped.append(
                SkippedInput(f"image {image.get('id', position)}", "has no name", Relevance.SHAPE)
            )
            continue
        faces, reasons = assemble_faces(shapes, label)
        skipped += [SkippedInput(name, reason, Relevance.SHAPE) for reason in reasons]
        if not shapes:
            skipped.append(_without_points(name, image))
        if faces:
            subset = image.get("subset", "").strip()
            photos.append(AnnotatedPhoto(name, _image_size(image), tuple(faces), subset))
    if not photos:
        reasons_text = summarize_reasons(skipped)
        raise DataError(f"{path} has no face with {NUM_KEYPOINTS} points ({reasons_text})")
    return Annotations(tuple(photos), tuple(skipped), label)


def find_annotations(folder: Path) -> Path:
    """Return the annotation file of a folder of photos: in it or, for ``images``, beside it.

    Returns ``folder/annotations.xml`` if there is none, so that the error names it.
    """
    names = ("annotations.xml", "annotations.xml.gz", "annotations.zip")
    parent = folder.absolute().parent
    places = [folder, parent] if folder.absolute().name.lower() == "images" else [folder]
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
        others = sorted(place.glob("*.xml"))
        if len(others) == 1:
            return others[0]
    return folder / names[0]


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
    content = packed.read_unpacked(
        path,
        lambda member: member.name == "annotations.xml",
        "annotations.xml",
        limit=_MAX_BYTES,
    )
    parser = ElementTree.XMLParser(target=_DoctypeRefusingBuilder(path))
    try:
        parser.feed(content)
        root = parser.close()
    except ElementTree.ParseError as error:
        if content.lstrip()[:1] in (b"{", b"["):
            raise DataError(
                f"{path} is JSON: export from CVAT as 'CVAT for images 1.1', which is XML"
            ) from None
        line, column = error.position
        problem = str(error).split(":")[0]
        raise DataError(f"{path}, line {line}, column {column + 1}: {problem}") from None
    except (LookupError, ValueError) as error:  # an unknown or multi-byte encoding
        raise DataError(f"{path} cannot be read: {error}") from None
    if root.tag != "annotations":
        raise DataError(f"{path} is not a CVAT file: <{root.tag[:80]}> where <annotations> belongs")
    if root.find("track") is not None:
        raise DataError(f"{path} is 'CVAT for video': export it as 'CVAT for images 1.1'")
    return root


def _shapes(image: ElementTree.Element) -> Iterator[Shape]:
    """Yield the point shapes of an ``<image>`` element."""
    for shape in image:
        label, group = shape.get("label", "").strip(), shape.get("group_id", "").strip()
        group = "" if group == "0" else group
        if shape.tag == "skeleton":
            parts = [part for part in shape.iter("points") if part.get("outside") != "1"]
            text = ";".join(part.get("points", "") for part in parts)
            yield Shape(label, _parse_points(text), group, is_skeleton=True)
        elif shape.tag == "points":
            yield Shape(label, _parse_points(shape.get("points", "")), group)


def _parse_points(text: str) -> np.ndarray | None:
    """Return the (P, 2) points of a text such as "1.5,2;3,4", or None if it is not valid."""
    pairs = []
    for pair in text.split(";"):
        if not pair.strip():
            continue
        match = _PAIR.fullmatch(pair)
        if match is None:
            return None
        pairs.append([float(match[1]), float(match[2])])
    points = np.array(pairs, np.float64).reshape(len(pairs), 2)
    return points if np.isfinite(points).all() else None


def _choose_label(path: Path, label: str | None, shapes: list[Shape]) -> str:
    """Return the requested label if a shape has it, or the default label."""
    known = list(dict.fromkeys(shape.label for shape in shapes))
    if label is not None:
        same = [name for name in known if fold_label(name) == fold_label(label)]
        if not same:
            raise DataError(f"{path}: " + unknown_name("label", label, known))
        return label if label in same else same[0]
    # A shape whose points lie on one line is not a face: its label is not a face's.
    counts = Counter(
        fold_label(shape.label)
        for shape in shapes
        if shape.points is not None and len(shape.points) == NUM_KEYPOINTS
        if not is_on_line(shape.points)
    )
    if not counts:
        return ""
    folded = counts.most_common(1)[0][0]
    return next(name for name in known if fold_label(name) == folded)


def _without_points(name: str, image: ElementTree.Element) -> SkippedInput:
    """Return the entry for a photo without point shapes."""
    others = [shape.tag for shape in image if shape.tag in _OTHER_SHAPES]
    if not others:
        return SkippedInput(name, "no points are annotated", Relevance.EMPTY)
    reason = f"is annotated with a {others[0]}, not with points"
    return SkippedInput(name, reason, Relevance.SHAPE)


def _image_size(image: ElementTree.Element) -> tuple[int, int] | None:
    """Return the width and height of an ``<image>`` element, None if not written."""
    try:
        size = float(image.get("width", "")), float(image.get("height", ""))
    except ValueError:
        return None
    if not all(1 <= value < 1 << 24 for value in size):
        return None
    return round(size[0]), round(size[1])

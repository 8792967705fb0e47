"""The 15 keypoints: names, column order, mirror pairs, regions, annotators, target scales.

Left and right are the subject's, as in the competition: ``left_eye_center`` is on the right side
of the image. Coordinates are pixels of a 96×96 image, x to the right and y down, and the centre of
the top left pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

IMAGE_SIZE: Final = 96
"""Width and height of a face image in pixels."""

KEYPOINT_NAMES: Final = (
    "left_eye_center",
    "right_eye_center",
    "left_eye_inner_corner",
    "left_eye_outer_corner",
    "right_eye_inner_corner",
    "right_eye_outer_corner",
    "left_eyebrow_inner_end",
    "left_eyebrow_outer_end",
    "right_eyebrow_inner_end",
    "right_eyebrow_outer_end",
    "nose_tip",
    "mouth_left_corner",
    "mouth_right_corner",
    "mouth_center_top_lip",
    "mouth_center_bottom_lip",
)
"""The keypoints in the column order of training.csv."""

NUM_KEYPOINTS: Final = len(KEYPOINT_NAMES)

COLUMNS: Final = tuple(f"{name}_{axis}" for name in KEYPOINT_NAMES for axis in "xy")
"""The 30 coordinate columns of training.csv, and the FeatureName values of the lookup table."""


def index(*names: str) -> tuple[int, ...]:
    """Return the positions of keypoint names among the 15; ValueError for an unknown name."""
    return tuple(KEYPOINT_NAMES.index(name) for name in names)


def mirrored_name(name: str) -> str:
    """Return a point's name with its parts "left" and "right" exchanged."""
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(part, part) for part in name.split("_"))


FLIP_ORDER: Final = index(*(mirrored_name(name) for name in KEYPOINT_NAMES))
"""Position of each keypoint's mirror partner: ``keypoints[:, FLIP_ORDER]`` exchanges left and right
after a horizontal flip of the image."""

PARTIAL_KEYPOINTS: Final = index(
    "left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip"
)
"""The four keypoints that the partial annotator labelled."""

REGIONS: Final[dict[str, tuple[int, ...]]] = {
    "all": tuple(range(NUM_KEYPOINTS)),
    "eyes-nose": index(
        "left_eye_center",
        "right_eye_center",
        "left_eye_inner_corner",
        "left_eye_outer_corner",
        "right_eye_inner_corner",
        "right_eye_outer_corner",
        "nose_tip",
    ),
    "mouth-eyebrows": index(
        "left_eyebrow_inner_end",
        "left_eyebrow_outer_end",
        "right_eyebrow_inner_end",
        "right_eyebrow_outer_end",
        "mouth_left_corner",
        "mouth_right_corner",
        "mouth_center_top_lip",
        "mouth_center_bottom_lip",
    ),
}
"""Keypoints that a network predicts, by name of the region."""

ANNOTATORS: Final = ("complete", "partial")
"""The annotators; their positions, 0 and 1, are the codes in arrays."""

COMPLETE: Final = 0

PARTIAL: Final = 1

TARGET_SCALES: Mapping[str, tuple[float, float]] = {
    "auto": (1.0, 0.0),
    "pixels": (1.0, 0.0),
    "unit": (IMAGE_SIZE, 0.0),
    "centred": (IMAGE_SIZE / 2, IMAGE_SIZE / 2),
}
"""(scale, offset) by name: pixels = target · scale + offset."""

"""A run's answer for faces in photos: crop, predict, crop better, predict from several views.

The first crop is only roughly right, whoever made it. The first prediction says how the face is
turned and how large it is; the second crop shows it upright at the training faces' size, and the
mean over several slightly different looks at it is the answer (test-time augmentation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fkd_kaggle.photos.crops import Crop, FaceShape, crop_aligned

Predict = Callable[[np.ndarray], np.ndarray]
"""(N, 96, 96) uint8 crops → (N, 15, 2) pixels: ``ensemble.Predictor``, or any other."""

ROUNDS = 2
"""Crops made from predictions, each from the one before."""

CHUNK = 24
"""Faces asked for at a time."""

DOUBT = 0.8
"""Crop pixels of spread beyond which a face may lie on its side: ../shared/photos have 0.2 to 0.6,
the same photos turned by 60° or more 1 to 5."""

TURNS = (90.0, -90.0, 180.0, 45.0, -45.0, 135.0, -135.0)
"""Degrees by which the first crop of a doubtful face is turned for another try."""

VIEWS = (
    (0.0, 1.0, (0.0, 0.0)),
    (-8.0, 1.0, (0.0, 0.0)),
    (8.0, 1.0, (0.0, 0.0)),
    (0.0, 0.92, (0.0, 0.0)),
    (0.0, 1.08, (0.0, 0.0)),
    (0.0, 1.0, (-3.0, 0.0)),
    (0.0, 1.0, (3.0, 0.0)),
    (0.0, 1.0, (0.0, -3.0)),
    (0.0, 1.0, (0.0, 3.0)),
)
"""Turn in degrees, zoom, shift in crop pixels: within what training's augmentation shows."""


@dataclass(frozen=True)
class LocatedFaces:
    """Where a run sees a face's keypoints."""

    points: np.ndarray
    """(15, 2) float64 photo pixels."""
    crop: Crop
    """The crop they were read in."""
    spread: float
    """Crop pixels: root-mean-square disagreement of the views; large where the run is lost."""


def locate_keypoints(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict, shape: FaceShape
) -> list[LocatedFaces]:
    """Return the keypoints of one face in each photo.

    Parameters
    ----------
    photos
        (H, W) float32 grey each; the same photo may come several times.
    crops
        Where each photo's face is, roughly.
    """
    if len(photos) > CHUNK:
        return locate_keypoints(photos[:CHUNK], crops[:CHUNK], predict, shape) + locate_keypoints(
            photos[CHUNK:], crops[CHUNK:], predict, shape
        )
    if not photos:
        return []
    found = _from(photos, crops, predict, shape)
    doubtful = [place for place, face in enumerate(found) if face.spread > DOUBT]
    for turn in TURNS if doubtful else ():
        turned = [crops[place].seen(np.radians(turn), 1.0, (0.0, 0.0)) for place in doubtful]
        again = _from([photos[place] for place in doubtful], turned, predict, shape)
        for place, face in zip(doubtful, again, strict=True):
            if face.spread < found[place].spread:
                found[place] = face
    return found


def _from(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict, shape: FaceShape
) -> list[LocatedFaces]:
    """Return where the run sees the faces, beginning with these crops."""
    points, spread = _predict_views(photos, crops, predict)
    for _ in range(ROUNDS):
        crops = [
            better if _plausible(better, crop) else crop
            for crop, better in zip(
                crops, [crop_aligned(face, shape) for face in points], strict=True
            )
        ]
        points, spread = _predict_views(photos, crops, predict)
    return [
        LocatedFaces(face, crop, float(width))
        for face, crop, width in zip(points, crops, spread, strict=True)
    ]


def _predict_views(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 15, 2) photo pixels, the views' mean, and (N,) their spread in crop pixels."""
    views = [
        [crop.seen(np.radians(angle), zoom, shift) for angle, zoom, shift in VIEWS]
        for crop in crops
    ]
    images = np.stack(
        [view.cut(photo) for photo, several in zip(photos, views, strict=True) for view in several]
    )
    # To one of a few sizes: networks are compiled for each.
    room = min(CHUNK, 1 << (len(crops) - 1).bit_length())
    blank = np.zeros(((room - len(crops)) * len(VIEWS), *images.shape[1:]), np.uint8)
    answers = predict(np.concatenate([images, blank]))[: len(images)]
    answers = answers.reshape(len(crops), len(VIEWS), *answers.shape[1:])
    seen = np.array(
        [
            [view.to_photo(face) for view, face in zip(several, answer, strict=True)]
            for several, answer in zip(views, answers, strict=True)
        ]
    )
    scales = np.array([crop.scale for crop in crops])
    spread = np.sqrt(seen.var(1).sum(-1).mean(-1)) / scales
    return seen.mean(1), spread


def _plausible(better: Crop, crop: Crop) -> bool:
    """Say whether a crop made from a prediction is near enough to the one it was made in."""
    ratio = better.scale / crop.scale
    middle = np.full(2, 47.5)
    moved = np.hypot(*(better.to_photo(middle) - crop.to_photo(middle))) / crop.scale
    return bool(0.5 < ratio < 2 and moved < 32)

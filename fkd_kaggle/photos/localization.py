"""A run's keypoints for faces in photos, from rough crops of the faces.

The first crop is only roughly right. Its prediction gives the face's orientation and size, from
which the next crop is made, in which the face is upright and has the size of the training faces.
Where the crops do not converge, as with a network that has learned little, the first one counts.
The result is the mean prediction over several slightly different crops (test-time augmentation).
This module does not find faces; see ``detection``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.photos.crops import Crop, crop_aligned
from fkd_kaggle.photos.mean_face import MeanFace

Predict = Callable[[np.ndarray], np.ndarray]
"""(N, 96, 96) uint8 crops → (N, 15, 2) crop pixels; ``ensemble.prediction.Predictor`` is one."""

REFINEMENTS = 2
"""Number of times that the crop is made anew from the prediction."""

BATCH_SIZE = 24
"""Largest number of faces predicted at a time."""

MAX_SPREAD = 0.8
"""Crop pixels. Faces with a larger spread are tried in other orientations. The spread of upright
faces is 0.2 to 0.6 on the 60 photos of the external test, 1 to 5 if they are rotated by 60° or
more."""

MAX_MOVEMENT = 2.0
"""Crop pixels. Crops have converged if the next one would move the face by less, or by less than
half as much as the first one did. The views move the face by 3."""

CLEARLY_LOWER = 0.75
"""Ratio of spreads below which another orientation of a face is right. A network that predicts the
same in each crop has the same spread in all orientations."""

ROTATIONS = (90.0, -90.0, 180.0, 45.0, -45.0, 135.0, -135.0)
"""Degrees by which the first crop is rotated for another try."""


class CropView(NamedTuple):
    """A change of the crop for test-time augmentation."""

    angle: float = 0.0
    """Degrees."""
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    """(x, y) in crop pixels."""


VIEWS = (
    CropView(),
    CropView(angle=-8.0),
    CropView(angle=8.0),
    CropView(zoom=0.92),
    CropView(zoom=1.08),
    CropView(shift=(-3.0, 0.0)),
    CropView(shift=(3.0, 0.0)),
    CropView(shift=(0.0, -3.0)),
    CropView(shift=(0.0, 3.0)),
)
"""The views that are averaged, within the range of the augmentation in training."""


@dataclass(frozen=True)
class LocatedFace:
    """The predicted keypoints of a face in a photo."""

    points: np.ndarray
    """(15, 2) float64 photo pixels."""
    crop: Crop
    """The last crop, without the views' changes; the rough one if the crops did not converge."""
    spread: float
    """Root-mean-square deviation of the views' predictions from their mean, in crop pixels. It is
    large if the prediction is not reliable."""
    converged: bool = True
    """Whether crops made from the predictions converge."""


def locate_keypoints(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict, face: MeanFace
) -> list[LocatedFace]:
    """Predict the keypoints of one face in each photo.

    Parameters
    ----------
    photos
        (H, W) float32 grey photos. The same photo may occur several times.
    crops
        The rough crop of a face in each photo.
    predict
        Predicts the keypoints of crops.
    face
        The mean face of the training data of ``predict``.

    Returns
    -------
    One result per photo.
    """
    if len(photos) > BATCH_SIZE:
        first = locate_keypoints(photos[:BATCH_SIZE], crops[:BATCH_SIZE], predict, face)
        return first + locate_keypoints(photos[BATCH_SIZE:], crops[BATCH_SIZE:], predict, face)
    if not photos:
        return []
    located = _refine(photos, crops, predict, face)
    uncertain = [index for index, result in enumerate(located) if result.spread > MAX_SPREAD]
    for angle in ROTATIONS if uncertain else ():
        rotated = [
            crops[index].transformed(np.radians(angle), 1.0, (0.0, 0.0)) for index in uncertain
        ]
        results = _refine([photos[index] for index in uncertain], rotated, predict, face)
        for index, result in zip(uncertain, results, strict=True):
            if result.converged and result.spread < CLEARLY_LOWER * located[index].spread:
                located[index] = result
    return located


def _refine(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict, face: MeanFace
) -> list[LocatedFace]:
    """Predict from the crops and from crops made of the predictions."""
    points, spread = _predict_views(photos, crops, predict)
    first = [
        LocatedFace(face_points, crop, float(face_spread), converged=False)
        for face_points, crop, face_spread in zip(points, crops, spread, strict=True)
    ]
    movements = []
    for _ in range(REFINEMENTS):
        refined = [crop_aligned(face_points, face) for face_points in points]
        movements.append(_movements(refined, crops, face))
        crops = [
            new if _is_plausible(new, crop) else crop
            for crop, new in zip(crops, refined, strict=True)
        ]
        points, spread = _predict_views(photos, crops, predict)
    # One more crop would show whether the last one is stable; its predictions are not needed.
    last = _movements([crop_aligned(face_points, face) for face_points in points], crops, face)
    converged = last <= np.maximum(MAX_MOVEMENT, movements[0] / 2)
    return [
        LocatedFace(points[index], crops[index], float(spread[index])) if converged[index] else one
        for index, one in enumerate(first)
    ]


def _movements(new: Sequence[Crop], crops: Sequence[Crop], face: MeanFace) -> np.ndarray:
    """Return (N,) distances between the mean face in two crops, RMS in pixels of the second."""
    return np.array(
        [
            np.sqrt(np.square(one.to_photo(face.points) - crop.to_photo(face.points)).sum(1).mean())
            / crop.scale
            for one, crop in zip(new, crops, strict=True)
        ]
    )


def _predict_views(
    photos: Sequence[np.ndarray], crops: Sequence[Crop], predict: Predict
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the views, (N, 15, 2) photo pixels, and the (N,) spread."""
    views = [
        [crop.transformed(np.radians(view.angle), view.zoom, view.shift) for view in VIEWS]
        for crop in crops
    ]
    images = np.stack(
        [
            view.extract(photo)
            for photo, photo_views in zip(photos, views, strict=True)
            for view in photo_views
        ]
    )
    # Networks are compiled for each batch size, so batches are padded to a power of two.
    padded = min(BATCH_SIZE, 1 << (len(crops) - 1).bit_length())
    padding = np.zeros(((padded - len(crops)) * len(VIEWS), *images.shape[1:]), np.uint8)
    predictions = predict(np.concatenate([images, padding]))[: len(images)]
    predictions = predictions.reshape(len(crops), len(VIEWS), *predictions.shape[1:])
    in_photo = np.array(
        [
            [view.to_photo(points) for view, points in zip(photo_views, rows, strict=True)]
            for photo_views, rows in zip(views, predictions, strict=True)
        ]
    )
    scales = np.array([crop.scale for crop in crops])
    spread = np.sqrt(in_photo.var(1).sum(-1).mean(-1)) / scales
    return in_photo.mean(1), spread


def _is_plausible(new: Crop, crop: Crop) -> bool:
    """Return whether a new crop is close enough to the crop that it was predicted from."""
    ratio = new.scale / crop.scale
    centre = np.full(2, (IMAGE_SIZE - 1) / 2)
    distance = np.hypot(*(new.to_photo(centre) - crop.to_photo(centre))) / crop.scale
    return bool(0.5 < ratio < 2 and distance < 32)

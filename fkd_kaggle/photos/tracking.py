"""Faces followed from frame to frame, for videos and webcams.

The face detector takes most of the time, so it runs once in a while and where no face is followed.
In between, a face is cropped by its points in the previous frame. A face that the networks do not
recognise any more (large flip disagreement) is dropped. Numbers stay with the faces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from fkd_kaggle.photos.crops import crop_aligned
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, Detection, detect_upright_faces
from fkd_kaggle.photos.found_faces import PhotoFace, box_of_points
from fkd_kaggle.photos.images import to_grey
from fkd_kaggle.photos.mean_face import point_radius
from fkd_kaggle.photos.one_euro import OneEuroFilter
from fkd_kaggle.photos.prediction import PhotoModel

DETECTION_SECONDS = 1.0
"""Time of the video between two face detections while faces are followed."""

EMPTY_DETECTION_SECONDS = 0.2
"""Time between two face detections while there is no face."""

DETECTION_SIDE = 640
"""Pixels to which the longer side of a frame is reduced for the face detector."""

LOST_DISAGREEMENT = 2.5
"""Crop pixels of flip disagreement above which a face counts as lost. 19 of 20 training faces are
below 2."""

KEPT_SECONDS = 1.0
"""How long the number of a lost face is kept for a face that appears at the same place."""

MAX_FACES = 24
"""Largest number of faces that are followed at the same time."""

_LIVE_SHARE = 4.0
"""Time between two detections of a webcam, in multiples of the time that a detection takes."""

_BOX_MARGIN = (0.45, 0.6, 0.45, 0.35)
"""Left, top, right and bottom margin of the box around the points, in radii of the points."""


@dataclass
class _Track:
    """A face that is followed."""

    number: int
    points: np.ndarray
    """(15, 2) unfiltered photo pixels of the last frame."""
    seen: float
    """Time of the last frame with the face."""
    disagreement: float = 0.0
    lost: bool = False
    smooth: OneEuroFilter = field(default_factory=OneEuroFilter)

    @property
    def radius(self) -> float:
        return float(point_radius(self.points, self.points.mean(0)))


class FaceTracker:
    """Follow the faces of one video.

    Parameters
    ----------
    model
        Predicts the points.
    smooth
        Whether to filter the points over time.
    live
        Whether frames are dropped while the previous one is computed, as for a webcam. Faces are
        then detected less often on slow machines.
    """

    def __init__(self, model: PhotoModel, *, smooth: bool = True, live: bool = False) -> None:
        self.model, self.smooth, self.live = model, smooth, live
        self._cost = 0.0
        self._tracks: list[_Track] = []
        self._next_number = 1
        self._detected = -math.inf

    def track(self, frame: np.ndarray, time: float) -> list[PhotoFace]:
        """Return the faces of the next frame, by number.

        Parameters
        ----------
        frame
            (H, W, 3) uint8 RGB.
        time
            Seconds since the start of the video.
        """
        grey = to_grey(frame)
        followed = [track for track in self._tracks if not track.lost]
        if followed:
            self._predict(followed, grey, time)
        wait = DETECTION_SECONDS if any(not t.lost for t in followed) else EMPTY_DETECTION_SECONDS
        if self.live:
            wait = max(wait, _LIVE_SHARE * self._cost)
        if not 0 <= time - self._detected < wait:
            began = monotonic()
            found = detect_upright_faces(frame, max_side=DETECTION_SIDE)
            self._detected, self._cost = time, monotonic() - began
            self._add_detections(found, grey, time)
        self._tracks = [track for track in self._tracks if time - track.seen <= KEPT_SECONDS]
        return [self._face(track, time) for track in self._tracks if not track.lost]

    def _predict(self, tracks: list[_Track], grey: np.ndarray, time: float) -> None:
        """Predict the points of faces from the crops at their last points."""
        crops = [crop_aligned(track.points, self.model.mean_face) for track in tracks]
        # Batches of a power of two, because networks are compiled for each batch size.
        size = 1 << (len(crops) - 1).bit_length()
        images = np.zeros((size, 96, 96), np.uint8)
        images[: len(crops)] = [crop.extract(grey) for crop in crops]
        points, disagreement = self.model.predictor.predict_with_disagreement(
            images, self.model.annotator
        )
        height, width = grey.shape
        for track, crop, crop_points, value in zip(
            tracks, crops, points, disagreement, strict=False
        ):
            new = crop.to_photo(crop_points.astype(np.float64))
            centre = new.mean(0)
            inside = (centre >= 0).all() and (centre < (width, height)).all()
            same_size = 0.5 < point_radius(new, centre) / max(track.radius, 1e-6) < 2
            track.lost = not (inside and same_size and value <= LOST_DISAGREEMENT)
            if not track.lost:
                track.points, track.seen = new, time
                track.disagreement = float(value) * crop.scale
        self._drop_duplicates()

    def _drop_duplicates(self) -> None:
        """Drop the younger of two tracks that follow the same face."""
        kept: list[_Track] = []
        for track in sorted(self._tracks, key=lambda track: track.number):
            same = [
                other
                for other in kept
                if not (track.lost or other.lost) and _distance(track, other.points) < 0.5
            ]
            if not same:
                kept.append(track)
        self._tracks = kept

    def _add_detections(self, detections: list[Detection], grey: np.ndarray, time: float) -> None:
        """Start to follow detected faces that are not followed; revive lost ones."""
        added = []
        for face in detections[:MAX_FACES]:
            crop = crop_aligned(face.points, self.model.mean_face, DETECTED_KEYPOINTS)
            points = crop.to_photo(self.model.mean_face.points)
            near = [track for track in self._tracks if _distance(track, points) < 1.0]
            if any(not track.lost for track in near):
                continue
            if near:
                track = min(near, key=lambda track: _distance(track, points))
                track.points, track.lost = points, False
                track.smooth = OneEuroFilter()
            elif sum(not track.lost for track in self._tracks) < MAX_FACES:
                track = _Track(self._next_number, points, time)
                self._next_number += 1
                self._tracks.append(track)
            else:
                continue
            added.append(track)
        if added:
            # Twice: the detector's five points place the crop only roughly.
            self._predict(added, grey, time)
            remaining = [track for track in added if not track.lost]
            if remaining:
                self._predict(remaining, grey, time)

    def _face(self, track: _Track, time: float) -> PhotoFace:
        """Return a track's face in the current frame."""
        points = track.smooth(track.points, time, track.radius) if self.smooth else track.points
        error = math.nan
        calibration = self.model.calibration
        if calibration is not None:
            scale = track.radius / self.model.mean_face.radius
            disagreement = np.array([track.disagreement / max(scale, 1e-6)])
            error = float(calibration.expected_rmse(disagreement)[0]) * scale
        return PhotoFace(track.number, _box(points, track.radius), points, error, math.nan)


def _distance(track: _Track, points: np.ndarray) -> float:
    """Return the distance of a track's centre from that of (15, 2) points, in radii of the face."""
    return float(np.hypot(*(track.points.mean(0) - points.mean(0)))) / max(track.radius, 1e-6)


def _box(points: np.ndarray, radius: float) -> tuple[float, float, float, float]:
    """Return a box around the face of (15, 2) points."""
    left, top, width, height = box_of_points(points)
    before_x, before_y, after_x, after_y = (margin * radius for margin in _BOX_MARGIN)
    return (
        left - before_x,
        top - before_y,
        width + before_x + after_x,
        height + before_y + after_y,
    )

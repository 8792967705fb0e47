"""Faces in videos: numbers, lost and new faces, smoothing, how often faces are detected.

A face is a white disc. The detector knows where the discs are; the networks see them in the crops.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from fkd_kaggle.photos import tracking
from fkd_kaggle.photos.detection import DETECTED_KEYPOINTS, Detection
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.mean_face import MeanFace, point_radius
from fkd_kaggle.photos.prediction import PhotoModel

WIDTH, HEIGHT = 420, 240
FRAME_SECONDS = 0.04


def _make_mean_face() -> MeanFace:
    points = np.random.default_rng(0).normal(size=(15, 2))
    points -= points.mean(0)
    points *= 24 / point_radius(points, np.zeros(2))
    return MeanFace(points + 48, np.array([48.0, 48.0]), 24.0)


MEAN_FACE = _make_mean_face()


class DiscNetworks:
    """Predicts the mean face around the disc in each crop; without a disc the flips disagree."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.disagreement = 0.5
        self.zoom = 1.0

    def predict_with_disagreement(
        self, images: np.ndarray, annotator: int
    ) -> tuple[np.ndarray, np.ndarray]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (96, 96)
        self.batches.append(len(images))
        points = np.repeat(MEAN_FACE.points[None], len(images), 0).astype(np.float32)
        disagreement = np.full(len(images), 9.0, np.float32)
        for index, image in enumerate(images):
            y, x = np.nonzero(image > 128)
            if len(x):
                centre = np.array([x.mean(), y.mean()])
                points[index] = (MEAN_FACE.points - 48) * self.zoom + centre
                disagreement[index] = self.disagreement
        return points, disagreement


class Scene:
    """Frames with discs, whose detector and networks a tracker uses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.discs: list[tuple[float, float]] = []
        self.hidden: list[tuple[float, float]] = []
        """Discs that the detector does not find."""
        self.false_alarms: list[tuple[float, float]] = []
        self.detections = 0
        self.networks = DiscNetworks()
        self.calibration: SimpleNamespace | None = None
        monkeypatch.setattr(tracking, "detect_upright_faces", self._detect)

    def _detect(self, frame: np.ndarray, *, max_side: int) -> list[Detection]:
        assert max_side == tracking.DETECTION_SIDE
        self.detections += 1
        offsets = MEAN_FACE.points[list(DETECTED_KEYPOINTS)] - 48
        found = [disc for disc in self.discs if disc not in self.hidden] + self.false_alarms
        return [Detection((0.0, 0.0, 1.0, 1.0), offsets + centre, 0.99) for centre in found]

    def tracker(self, *, smooth: bool = False, live: bool = False) -> tracking.FaceTracker:
        model = SimpleNamespace(
            predictor=self.networks, mean_face=MEAN_FACE, calibration=self.calibration, annotator=0
        )
        return tracking.FaceTracker(cast(PhotoModel, model), smooth=smooth, live=live)

    def frame(self) -> np.ndarray:
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for left, top in self.discs:
            pixels[np.hypot(x - left, y - top) < 10] = 255
        return pixels


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def centres(faces: list[PhotoFace]) -> dict[int, tuple[int, int]]:
    """Return the rounded centres of the points by the number of the face."""
    return {face.number: tuple(face.points.mean(0).round().astype(int)) for face in faces}


def test_numbers_stay_with_moving_faces(scene: Scene) -> None:
    tracker = scene.tracker()
    for number in range(10):
        left, right = (60.0 + 4 * number, 80.0), (360.0 - 2 * number, 150.0)
        # The detector does not name faces: their order changes with every detection.
        scene.discs = [left, right] if number % 2 else [right, left]
        faces = tracker.track(scene.frame(), number * FRAME_SECONDS)
        assert centres(faces) == {1: right, 2: left}
    assert all(face.points.shape == (15, 2) for face in faces)


def test_followed_faces_are_detected_once_a_second_and_predicted_in_each_frame(
    scene: Scene,
) -> None:
    scene.discs = [(80.0, 100.0), (200.0, 100.0), (320.0, 100.0)]
    tracker = scene.tracker()
    for number in range(9):
        assert len(tracker.track(scene.frame(), number / 4)) == 3
    assert scene.detections == 3
    # Twice for the new faces, then once for each frame; batches have sizes of powers of two.
    assert scene.networks.batches == [4] * (2 + 8)


def test_a_frame_without_faces_is_searched_five_times_a_second(scene: Scene) -> None:
    tracker = scene.tracker()
    frame = scene.frame()
    for number in range(64):
        assert tracker.track(frame, number / 32) == []
    assert scene.detections == 10
    assert scene.networks.batches == []


def test_a_new_face_gets_the_next_number_at_the_next_detection(scene: Scene) -> None:
    scene.discs = [(80.0, 100.0)]
    tracker = scene.tracker()
    tracker.track(scene.frame(), 0.0)
    scene.discs.append((300.0, 100.0))
    assert set(centres(tracker.track(scene.frame(), 0.5))) == {1}
    assert set(centres(tracker.track(scene.frame(), 1.0))) == {1, 2}


@pytest.mark.parametrize(("gone", "number"), [(0.6, 1), (1.6, 2)])
def test_a_lost_face_keeps_its_number_for_a_second(scene: Scene, gone: float, number: int) -> None:
    place = (200.0, 100.0)
    scene.discs = [place]
    tracker = scene.tracker()
    tracker.track(scene.frame(), 0.0)
    scene.discs = []
    time = FRAME_SECONDS
    while time < gone:
        assert tracker.track(scene.frame(), time) == []
        time += FRAME_SECONDS
    scene.discs = [place]
    assert centres(tracker.track(scene.frame(), gone + 0.2)) == {number: place}


def test_a_lost_face_does_not_give_its_number_to_a_face_elsewhere(scene: Scene) -> None:
    scene.discs = [(80.0, 100.0)]
    tracker = scene.tracker()
    tracker.track(scene.frame(), 0.0)
    scene.discs = [(300.0, 100.0)]
    tracker.track(scene.frame(), 0.1)
    assert centres(tracker.track(scene.frame(), 0.3)) == {2: (300, 100)}


def test_a_false_alarm_of_the_detector_is_no_face(scene: Scene) -> None:
    scene.false_alarms = [(300.0, 100.0)]
    scene.discs = [(80.0, 100.0)]
    assert centres(scene.tracker().track(scene.frame(), 0.0)) == {1: (80, 100)}


def test_a_face_is_lost_when_its_points_shrink_or_leave_the_frame(scene: Scene) -> None:
    scene.discs = [(200.0, 100.0)]
    tracker = scene.tracker()
    assert len(tracker.track(scene.frame(), 0.0)) == 1
    scene.networks.zoom = 0.3
    assert tracker.track(scene.frame(), 0.1) == []
    scene.networks.zoom = 1.0
    scene.discs = [(30.0, 100.0)]
    other = scene.tracker()
    assert len(other.track(scene.frame(), 0.0)) == 1
    # The crop repeats the edge of the frame, so that the disc ends beyond it.
    scene.discs = [(1.0, 100.0)]
    assert other.track(scene.frame(), 0.1) == []


def test_two_tracks_that_meet_become_the_older_one(scene: Scene) -> None:
    scene.discs = [(170.0, 100.0), (250.0, 100.0)]
    tracker = scene.tracker()
    assert set(centres(tracker.track(scene.frame(), 0.0))) == {1, 2}
    # The crops of both show the one disc that stands between them.
    scene.discs = [(210.0, 100.0)]
    tracker.track(scene.frame(), 0.1)
    assert centres(tracker.track(scene.frame(), 0.2)) == {1: (210, 100)}


def test_at_most_max_faces_are_followed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_FACES", 2)
    tracker = scene.tracker()
    scene.discs = [(80.0, 100.0)]
    tracker.track(scene.frame(), 0.0)
    scene.discs = [(200.0, 100.0), (320.0, 100.0), (80.0, 100.0)]
    assert set(centres(tracker.track(scene.frame(), 1.0))) == {1, 2}
    # Later detections find the two again; a third has no place.
    scene.discs = [(320.0, 100.0), (80.0, 100.0), (200.0, 100.0)]
    assert centres(tracker.track(scene.frame(), 2.0)) == {1: (80, 100), 2: (200, 100)}


def test_points_are_smoothed_only_if_wanted(scene: Scene) -> None:
    random = np.random.default_rng(1)
    smooth, raw = scene.tracker(smooth=True), scene.tracker()
    positions: list[tuple[float, float]] = []
    for number in range(30):
        scene.discs = [(200.0 + random.normal(0, 1), 100.0)]
        frame = scene.frame()
        pair = [tracker.track(frame, number * FRAME_SECONDS)[0] for tracker in (smooth, raw)]
        positions.append((pair[0].points[:, 0].mean(), pair[1].points[:, 0].mean()))
    smoothed, unsmoothed = np.std(positions[10:], axis=0)
    assert unsmoothed > 0.5
    assert smoothed < 0.7 * unsmoothed


def test_the_box_contains_the_points_with_a_margin(scene: Scene) -> None:
    scene.discs = [(200.0, 100.0)]
    (face,) = scene.tracker().track(scene.frame(), 0.0)
    left, top, width, height = face.box
    # The margins are 0.45, 0.6, 0.45 and 0.35 radii of 24 pixels.
    assert face.points.min(0) - (left, top) == pytest.approx([10.8, 14.4], abs=0.1)
    assert np.array([left + width, top + height]) - face.points.max(0) == pytest.approx(
        [10.8, 8.4], abs=0.1
    )
    assert math.isnan(face.confidence)


def test_expected_errors_are_those_of_the_calibration_in_photo_pixels(scene: Scene) -> None:
    scene.discs = [(200.0, 100.0)]
    (face,) = scene.tracker().track(scene.frame(), 0.0)
    assert math.isnan(face.expected_error)
    scene.calibration = SimpleNamespace(expected_rmse=lambda disagreement: 2 * disagreement)
    (face,) = scene.tracker().track(scene.frame(), 0.0)
    assert face.expected_error == pytest.approx(1.0, abs=0.01)


def test_a_slow_detector_is_asked_less_often_by_a_live_tracker_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 2))  # each detection takes two seconds
    monkeypatch.setattr(tracking, "monotonic", lambda: next(clock))
    counts = []
    for live in (False, True):
        scene.detections = 0
        tracker = scene.tracker(live=live)
        for time in range(16):
            tracker.track(scene.frame(), float(time))
        counts.append(scene.detections)
    assert counts == [16, 2]


def test_a_video_that_starts_again_is_searched_at_once(scene: Scene) -> None:
    scene.discs = [(80.0, 100.0)]
    tracker = scene.tracker()
    tracker.track(scene.frame(), 5.0)
    scene.discs = [(300.0, 100.0)]
    assert (300, 100) in centres(tracker.track(scene.frame(), 0.0)).values()
    assert scene.detections == 2

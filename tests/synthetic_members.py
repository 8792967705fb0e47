"""Synthetic members for tests of blends: predictions with known errors, without any network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble.blend import FittedBlend, fit_blend
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS

SPREAD = 4.0
"""Standard deviation of the labels around the mean face, in pixels."""


@dataclass(frozen=True)
class MemberSpec:
    """One member: its fold, its error and the keypoints that it predicts."""

    recipe: str
    fold: int
    error: float
    """RMSE in pixels."""
    points: tuple[int, ...] = tuple(range(NUM_KEYPOINTS))
    seed: int = 0

    @property
    def name(self) -> str:
        """Return the member's name, as in plans."""
        return f"{self.recipe}-f{self.fold}" + (f"-s{self.seed}" if self.seed else "")


class World:
    """Training and test faces with labels, and members that predict both.

    Parameters
    ----------
    faces
        Number of training faces.
    folds
        Number of folds.
    seed
        Random seed.
    test
        Number of test faces.
    shared
        Fraction of each member's squared error that all members share.
    difficulty
        Standard deviation of the logarithm of the faces' errors: some faces are harder than others.
    """

    def __init__(
        self,
        faces: int = 300,
        folds: int = 3,
        seed: int = 0,
        test: int = 300,
        shared: float = 0.5,
        difficulty: float = 0.0,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.shared = shared
        everyone = faces + test
        middle = self.random.uniform(25, 71, (NUM_KEYPOINTS, 2))
        self.truth = middle + self.random.normal(0, SPREAD, (everyone, NUM_KEYPOINTS, 2))
        self.common = self.random.normal(0, 1, self.truth.shape)
        scale = np.exp(difficulty * self.random.normal(0, 1, (everyone, 1, 1)))
        self.scale = scale / np.sqrt(np.square(scale).mean())
        self.annotators = (np.arange(everyone) % 3 == 0).astype(np.uint8)
        labels = self.truth.astype(np.float32)
        others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
        labels[np.ix_(self.annotators == 1, others)] = np.nan
        self.labels = labels
        images = self.random.integers(0, 256, (everyone, 96, 96), dtype=np.uint8)
        self.training = Faces(images[:faces], labels[:faces], np.arange(1, faces + 1))
        self.test = np.arange(faces, everyone)
        self.held_out = self.random.permutation(faces) % folds
        self.query_counts = np.zeros((2, NUM_KEYPOINTS))
        for annotator in (0, 1):
            known = np.isfinite(labels[self.test][self.annotators[self.test] == annotator])
            self.query_counts[annotator] = known.sum((0, 2))

    def predict(self, spec: MemberSpec) -> np.ndarray:
        """Return (faces + test, 15, 2) float32 predictions of a member."""
        own = self.random.normal(0, 1, self.truth.shape)
        noise = np.sqrt(self.shared) * self.common + np.sqrt(1 - self.shared) * own
        result = (self.truth + spec.error * self.scale * noise).astype(np.float32)
        without = [point for point in range(NUM_KEYPOINTS) if point not in spec.points]
        result[:, without] = np.nan
        return result

    def fit(
        self, specs: list[MemberSpec], kind: str = "simplex", *, compare: bool = True
    ) -> tuple[FittedBlend, list[HeldOutPredictions], Mapping[str, np.ndarray]]:
        """Return the fitted blend, the out-of-fold predictions and the test predictions."""
        members, test = [], {}
        for spec in specs:
            predictions = self.predict(spec)
            rows = np.flatnonzero(self.held_out == spec.fold)
            members.append(HeldOutPredictions(spec.name, spec.recipe, rows, predictions[rows]))
            test[spec.name] = predictions[self.test]

        def unlabelled(names: object) -> tuple[np.ndarray, np.ndarray]:
            assert isinstance(names, tuple)
            empty = np.empty((0, len(self.test), NUM_KEYPOINTS, 2), np.float32)
            stacked = np.stack([test[name] for name in names]) if names else empty
            return stacked, self.annotators[self.test]

        fitted = fit_blend(
            members,
            self.training,
            self.training,
            self.held_out,
            self.query_counts,
            kind,
            unlabelled if compare else None,
        )
        return fitted, members, test

    def score(self, predictions: np.ndarray) -> float:
        """Return the RMSE of (test, 15, 2) predictions in pixels, as Kaggle scores."""
        value = metrics.combined_rmse(
            predictions, self.labels[self.test], self.annotators[self.test], self.query_counts
        )
        assert value is not None
        return value

    def apply(self, fitted: FittedBlend, test: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return (test, 15, 2): the blend's predictions for the test faces."""
        names = fitted.blend.members
        empty = np.empty((0, len(self.test), NUM_KEYPOINTS, 2), np.float32)
        stacked = np.stack([test[name] for name in names]) if names else empty
        return fitted.blend.apply(stacked, self.annotators[self.test])

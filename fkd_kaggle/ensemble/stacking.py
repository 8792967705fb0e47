"""Stacking: a linear correction of the blend, from all coordinates that the recipes predict.

``blend = "stack"`` in an ensemble's file selects the second level of Kaggle's runner-up (Benge,
github.com/cbenge509/w4732_final_project, 1.28637). For each annotator, the coordinates that each
recipe predicts out of fold and the products of every two coordinates of one recipe (30 + 435 from
a recipe with 15 keypoints, 8 + 28 from one with 4) are the inputs of one L1-regularised multi-task
linear model for all coordinates.

There are three differences to the runner-up's script. The model corrects the simplex blend, so
that regularisation shrinks predictions towards the blend instead of towards zero. Inputs are
standardised before they are multiplied, because a product of raw pixels is nearly a sum of its
factors. The strength of the penalty, 0.1 in the script, is chosen by cross-validation that keeps
near-duplicates together.

``blend = "shape"`` selects a ridge regression from all keypoints of the face without products. It
gained 1.5 % on the out-of-fold predictions of a cascade; products gained 1.2 %
(docs/experiments.md).

Pure array computation without networks and files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV, lasso_path
from sklearn.model_selection import GroupKFold

from fkd_kaggle.data import folds, metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending
from fkd_kaggle.ensemble.correction_inputs import (
    complete_rows,
    input_coordinates,
    labelled_points,
    with_products,
)
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS

ALPHAS = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
"""Candidate strengths of the L1 penalty in pixels, the strongest first."""

RIDGE_ALPHAS = tuple(np.logspace(1, 6, 11))
"""Candidate strengths of the L2 penalty."""

_OUTER_FOLDS = 5
"""Folds that score the stack."""

_INNER_FOLDS = 3
"""Folds that choose the strength of the penalty."""


@dataclass(frozen=True)
class Correction:
    """A linear model of what is added to the blend for the faces of one annotator."""

    used: np.ndarray
    """(R, 15) bool, the keypoints of each recipe that are inputs."""
    centre: np.ndarray
    """(C,) mean of each input coordinate, pixels."""
    scale: np.ndarray
    """(C,) standard deviation of each input coordinate, pixels."""
    coefficients: np.ndarray
    """(F, 2P) factors of the standardised coordinates and, for ``"stack"``, of their products."""
    intercept: np.ndarray
    """(2P,) pixels."""
    points: np.ndarray
    """(P,) indices of the corrected keypoints."""
    alpha: np.ndarray
    """() the chosen strength of the penalty, pixels."""

    def apply(self, predictions: np.ndarray) -> np.ndarray:
        """Return what to add to the blend.

        Parameters
        ----------
        predictions
            (R, N, 15, 2) float32 pixels, predictions of each recipe.

        Returns
        -------
        numpy.ndarray
            (N, P, 2) pixels; zero for faces with a missing input.
        """
        inputs = (input_coordinates(predictions, self.used) - self.centre) / self.scale
        if len(self.coefficients) > len(self.centre):
            inputs = with_products(inputs, self.used)
        added = inputs @ self.coefficients + self.intercept
        complete = np.isfinite(added).all(1)
        return np.where(complete[:, None], added, 0.0).reshape(len(added), len(self.points), 2)


FitCorrection = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Correction | None]
"""Predictions (R, N, 15, 2), residuals of the blend (N, 15, 2), groups, annotator → correction."""


@dataclass(frozen=True)
class Stack:
    """A simplex blend and its correction by annotator; None where the blend alone is better."""

    weights: np.ndarray
    """(2, 15, R) float64, from ``blending.fit_weights``."""
    corrections: tuple[Correction | None, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return weights and corrections as arrays by name, to be stored in blend.npz."""
        parts = {"weights": self.weights}
        for annotator, correction in enumerate(self.corrections):
            if correction is not None:
                for name, value in vars(correction).items():
                    parts[f"{ANNOTATORS[annotator]}_{name}"] = value
        return parts

    @classmethod
    def from_arrays(cls, parts: Mapping[str, np.ndarray]) -> Self:
        """Return a stack from the arrays of ``Stack.arrays``.

        Raises
        ------
        KeyError
            An array is missing.
        """
        names = [field.name for field in fields(Correction)]
        corrections = [
            Correction(**{name: parts[f"{annotator}_{name}"] for name in names})
            if f"{annotator}_alpha" in parts
            else None
            for annotator in ANNOTATORS
        ]
        return cls(parts["weights"], tuple(corrections))

    def apply(self, predictions: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        """Blend and correct predictions.

        Faces with a missing prediction of a recipe are not corrected.

        Parameters
        ----------
        predictions
            (R, N, 15, 2) float32 pixels, predictions of each recipe; NaN where missing.
        annotators
            (N,) uint8, annotator whose conventions the predictions follow.

        Returns
        -------
        numpy.ndarray
            (N, 15, 2) float32 pixels.
        """
        mixed = blending.apply_weights(predictions, self.weights, annotators)
        for annotator, correction in enumerate(self.corrections):
            rows = np.flatnonzero(annotators == annotator)
            if correction is not None and len(rows):
                mixed[np.ix_(rows, correction.points)] += correction.apply(predictions[:, rows])
        return mixed


def fit_by_name(name: str, predictions: np.ndarray, training: Faces) -> tuple[Stack, np.ndarray]:
    """Fit the kind of blend that an ensemble's key ``blend`` names.

    Parameters
    ----------
    name
        "simplex", "stack" or "shape".
    predictions
        (R, N, 15, 2) float32 pixels, out-of-fold predictions of each recipe.
    training
        The N training faces.

    Returns
    -------
    stack
        The blend, fitted on all faces.
    predictions
        (N, 15, 2) float32 pixels, see ``fit_stack``.
    """
    if name == "simplex":
        return fit_simplex(predictions, training.keypoints, training.annotators)
    return fit_stack(
        predictions,
        training.keypoints,
        training.annotators,
        folds.near_duplicate_groups(training),
        CORRECTIONS[name],
    )


def fit_simplex(
    predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray
) -> tuple[Stack, np.ndarray]:
    """Fit a blend without correction.

    Parameters
    ----------
    predictions, labels, annotators
        As for ``blending.fit_weights``.

    Returns
    -------
    stack
        The blend.
    predictions
        (N, 15, 2) float32 pixels, the blend's predictions for the faces it was fitted on.
    """
    plain = Stack(blending.fit_weights(predictions, labels, annotators), (None,) * len(ANNOTATORS))
    return plain, plain.apply(predictions, annotators)


def predict_without_own_face(
    predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Blend each face with weights that were fitted to other faces, without correction.

    Parameters
    ----------
    predictions, labels, annotators
        As for ``blending.fit_weights``.
    groups
        As for ``fit_stack``; at least two.

    Returns
    -------
    numpy.ndarray
        (N, 15, 2) float32 pixels.
    """
    result = np.full(labels.shape, np.nan, np.float32)
    for fitted, held in _splits(groups, _OUTER_FOLDS):
        stack, _ = fit_simplex(predictions[:, fitted], labels[fitted], annotators[fitted])
        result[held] = stack.apply(predictions[:, held], annotators[held])
    return result


def fit_stack(
    predictions: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    groups: np.ndarray,
    correct: FitCorrection | None = None,
) -> tuple[Stack, np.ndarray]:
    """Fit a blend with a correction for each annotator.

    Parameters
    ----------
    predictions, labels, annotators
        As for ``blending.fit_weights``.
    groups
        (N,) int, near-duplicates have the same number and stay on one side of each split.
    correct
        Fits the correction. Default: the runner-up's model.

    Returns
    -------
    stack
        The blend and its corrections, fitted on all faces.
    predictions
        (N, 15, 2) float32 pixels, each by a stack that was fitted without the face.

    Notes
    -----
    The returned predictions come from nested cross-validation, because predictions for the faces
    that a stack was fitted on would be too accurate: blend, correction and strength of the penalty
    are fitted on four fifths of the faces and predict the other fifth. If a correction is not
    better than the blend alone, measured in the same way, the annotator gets no correction.
    """
    correct = correct or _fit_products
    if len(np.unique(groups)) < 2:
        return fit_simplex(predictions, labels, annotators)
    stacked = np.full(labels.shape, np.nan, np.float32)
    mixed = stacked.copy()
    for fitted, held in _splits(groups, _OUTER_FOLDS):
        stack = fit_on_all_faces(
            predictions[:, fitted],
            labels[fitted],
            annotators[fitted],
            groups[fitted],
            correct,
        )
        plain = Stack(stack.weights, (None,) * len(ANNOTATORS))
        stacked[held] = stack.apply(predictions[:, held], annotators[held])
        mixed[held] = plain.apply(predictions[:, held], annotators[held])
    stack = fit_on_all_faces(predictions, labels, annotators, groups, correct)
    corrections = list(stack.corrections)
    for annotator in range(len(ANNOTATORS)):
        rows = annotators == annotator
        before, after = (metrics.rmse(one, labels, rows) for one in (mixed, stacked))
        if before is None or after is None or after >= before:
            corrections[annotator] = None
            stacked[rows] = mixed[rows]
    return Stack(stack.weights, tuple(corrections)), stacked


def fit_on_all_faces(
    predictions: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    groups: np.ndarray,
    correct: FitCorrection,
) -> Stack:
    """Fit a blend and its corrections without cross-validation of the result.

    Parameters
    ----------
    predictions, labels, annotators, groups
        As for ``fit_stack``.
    correct
        Fits the correction.

    Returns
    -------
    Stack
        Corrections that do not improve predictions for other faces are included.
    """
    plain, mixed = fit_simplex(predictions, labels, annotators)
    corrections = []
    for annotator in range(len(ANNOTATORS)):
        rows = np.flatnonzero(annotators == annotator)
        corrections.append(
            correct(predictions[:, rows], labels[rows] - mixed[rows], groups[rows], annotator)
        )
    return Stack(plain.weights, tuple(corrections))


def _fit_products(
    predictions: np.ndarray, residuals: np.ndarray, groups: np.ndarray, annotator: int
) -> Correction | None:
    """Fit the model of ``blend = "stack"`` to the (N, 15, 2) residuals; None for too few faces."""
    points = labelled_points(annotator)
    predicted = np.isfinite(predictions[..., 0])
    used = predicted.any(1)
    used[:, np.setdiff1d(np.arange(NUM_KEYPOINTS), points)] = False
    known = complete_rows(predictions, residuals, points, used)
    if known is None:
        return None
    rows, coordinates, targets = known
    centre, scale = coordinates.mean(0), np.maximum(coordinates.std(0), 1e-6)
    inputs, groups = with_products((coordinates - centre) / scale, used), groups[rows]
    errors = np.zeros(len(ALPHAS))
    for fitted, held in _splits(groups, _INNER_FOLDS):
        for index, (coefficients, intercept) in enumerate(_path(inputs[fitted], targets[fitted])):
            guess = inputs[held] @ coefficients + intercept
            errors[index] += np.square(guess - targets[held]).sum()
    best = int(errors.argmin())
    coefficients, intercept = _path(inputs, targets, ALPHAS[: best + 1])[-1]
    return Correction(used, centre, scale, coefficients, intercept, points, np.array(ALPHAS[best]))


def _fit_ridge(
    predictions: np.ndarray, residuals: np.ndarray, groups: np.ndarray, annotator: int
) -> Correction | None:
    """Fit the model of ``blend = "shape"`` to the (N, 15, 2) residuals; None for too few faces.

    All 15 keypoints are inputs, also for the annotator that labels only four, because the networks
    predict all 15.
    """
    points, used = labelled_points(annotator), np.isfinite(predictions[..., 0]).any(1)
    known = complete_rows(predictions, residuals, points, used)
    if known is None:
        return None
    rows, coordinates, targets = known
    centre, scale = coordinates.mean(0), np.maximum(coordinates.std(0), 1e-6)
    inputs = (coordinates - centre) / scale
    splits = list(_splits(groups[rows], _INNER_FOLDS)) or None
    model = RidgeCV(RIDGE_ALPHAS, cv=splits).fit(inputs, targets)
    return Correction(
        used, centre, scale, model.coef_.T, model.intercept_, points, np.array(model.alpha_)
    )


def _path(
    inputs: np.ndarray, targets: np.ndarray, alphas: Sequence[float] = ALPHAS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (F, T) coefficients and (T,) intercept for each penalty, with warm starts."""
    middle, mean = inputs.mean(0), targets.mean(0)
    with warnings.catch_warnings():
        # An unconverged fit is acceptable; cross-validation scores it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, path, _ = lasso_path(
            np.asfortranarray(inputs - middle),
            np.asfortranarray(targets - mean),
            alphas=alphas,
            tol=1e-3,
            max_iter=100,
        )
    return [(one, mean - middle @ one) for one in path.transpose(2, 1, 0)]


def _splits(groups: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to fit on and held-out rows, ``count`` times, or fewer with fewer groups."""
    count = min(count, len(np.unique(groups)))
    if count > 1:
        yield from GroupKFold(count).split(groups, groups=groups)


CORRECTIONS: Mapping[str, FitCorrection] = {"stack": _fit_products, "shape": _fit_ridge}
"""Corrections of the simplex blend by the value of an ensemble's key ``blend``."""

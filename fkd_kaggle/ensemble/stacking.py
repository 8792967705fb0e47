"""Stacking: a linear model over the recipes' points and their pairwise products, on top of a blend.

The second level of Kaggle's runner-up (Benge, github.com/cbenge509/w4732_final_project, 1.28637),
which ``blend = "stack"`` in an ensemble's file asks for. For each annotation source, the
coordinates that each recipe predicts out of fold and the products of every two coordinates of one
recipe (30 + 435 from a recipe with 15 points, 8 + 28 from one with 4) go into one L1-regularised
multi-task linear model for all coordinates. Pure array work: it knows neither networks nor files.

Three things differ from the runner-up's script. The model corrects the simplex blend instead of
starting from nothing, so that regularisation pulls towards a blend that is good already. Inputs are
standardised before they are multiplied: a product of raw pixels is mostly a sum of its factors. The
strength of the regularisation, 0.1 there, is chosen by folds that keep near-duplicates together.

``blend = "shape"`` is the plain sibling: a ridge regression from all points of the face without
products, which takes out what the other points of the face tell. It gained 1.5 % on one cascade's
out-of-fold predictions where the products gained 1.2 % (EXPERIMENTS.md).
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
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS

ALPHAS = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
"""Strengths of the L1 penalty to choose from, in pixels, the strongest first."""

SHAPE_ALPHAS = tuple(np.logspace(1, 6, 11))
"""Strengths of the L2 penalty to choose from."""

_FEWEST = 50
"""Faces to learn a correction from; with fewer the blend is left as it is."""

_OUTER, _INNER = 5, 3


@dataclass(frozen=True)
class Correction:
    """What is added to the blend's points for the faces of one source."""

    used: np.ndarray
    """(R, 15) bool: the points of each recipe that it looks at."""
    centre: np.ndarray
    """(C,) mean of each coordinate it looks at."""
    scale: np.ndarray
    """(C,) their standard deviations."""
    coefficients: np.ndarray
    """(F, 2P), for standardised coordinates and, from an L1 penalty, then their products."""
    intercept: np.ndarray
    """(2P,) pixels."""
    points: np.ndarray
    """(P,) the keypoints it corrects."""
    alpha: np.ndarray
    """() the strength of the penalty that was chosen, pixels."""

    def apply(self, predictions: np.ndarray) -> np.ndarray:
        """Return (N, P, 2) pixels to add, from (R, N, 15, 2); zero where an input is missing."""
        inputs = (_coordinates(predictions, self.used) - self.centre) / self.scale
        if len(self.coefficients) > len(self.centre):
            inputs = _with_products(inputs, self.used)
        added = inputs @ self.coefficients + self.intercept
        whole = np.isfinite(added).all(1)
        return np.where(whole[:, None], added, 0.0).reshape(len(added), len(self.points), 2)


Correct = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Correction | None]
"""Predictions (R, N, 15, 2), what the blend missed (N, 15, 2), groups and source → a correction."""


@dataclass(frozen=True)
class Stack:
    """A simplex blend and, by source, what corrects it; None where nothing does better."""

    weights: np.ndarray
    """(2, 15, R), from ``blend.fit``."""
    corrections: tuple[Correction | None, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything as named arrays, for ``np.savez``."""
        parts = {"weights": self.weights}
        for annotator, correction in enumerate(self.corrections):
            if correction is not None:
                for name, value in vars(correction).items():
                    parts[f"{ANNOTATORS[annotator]}_{name}"] = value
        return parts

    @classmethod
    def from_arrays(cls, parts: Mapping[str, np.ndarray]) -> Self:
        """Return what ``arrays`` took apart."""
        names = [field.name for field in fields(Correction)]
        corrections = [
            Correction(**{name: parts[f"{annotator}_{name}"] for name in names})
            if f"{annotator}_alpha" in parts
            else None
            for annotator in ANNOTATORS
        ]
        return cls(parts["weights"], tuple(corrections))

    def apply(self, predictions: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        """Return (N, 15, 2) float32: ``predictions`` (R, N, 15, 2) read by each face's source.

        A face for which a recipe's answer is missing gets the blend's points.
        """
        mixed = blending.apply_weights(predictions, self.weights, annotators)
        for annotator, correction in enumerate(self.corrections):
            rows = np.flatnonzero(annotators == annotator)
            if correction is not None and len(rows):
                mixed[np.ix_(rows, correction.points)] += correction.apply(predictions[:, rows])
        return mixed


def fit_by_name(name: str, predictions: np.ndarray, training: Faces) -> tuple[Stack, np.ndarray]:
    """Return the blend that an ensemble's ``blend`` names, and its held-out predictions.

    Parameters
    ----------
    name
        "simplex", "stack" or "shape".
    predictions
        (R, N, 15, 2) float32 pixels: each recipe's out-of-fold predictions for ``training``.
    """
    if name == "simplex":
        return fit_simplex(predictions, training.keypoints, training.annotators)
    return fit_stack(
        predictions,
        training.keypoints,
        training.annotators,
        folds.near_duplicate_groups(training),
        MODELS[name],
    )


def fit_simplex(
    predictions: np.ndarray, labels: np.ndarray, annotators: np.ndarray
) -> tuple[Stack, np.ndarray]:
    """Return the blend alone, and its predictions for the faces it was fitted on.

    Takes what ``blend.fit`` takes.
    """
    plain = Stack(blending.fit_weights(predictions, labels, annotators), (None,) * len(ANNOTATORS))
    return plain, plain.apply(predictions, annotators)


def fit_stack(
    predictions: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    groups: np.ndarray,
    correct: Correct | None = None,
) -> tuple[Stack, np.ndarray]:
    """Return the stack, and predictions by stacks that were fitted without the face in question.

    Parameters
    ----------
    predictions, labels, sources
        As for ``blend.fit``.
    groups
        (N,) near-duplicates share a number; they are never on both sides of a split.
    correct
        Fits what is added to the blend; the runner-up's model when None.

    Notes
    -----
    A second level scored on the faces it was fitted on would flatter by what it overfits, so the
    returned predictions are nested: blend, correction and its strength come from four fifths of
    the faces, the predictions are for the last. Where they are no better than the blend's own,
    fitted in the same way, the source keeps the blend.
    """
    correct = correct or _correct_by_products
    if len(np.unique(groups)) < 2:
        return fit_simplex(predictions, labels, annotators)
    stacked = np.full(labels.shape, np.nan, np.float32)
    mixed = stacked.copy()
    for fitted, held in _splits(groups, _OUTER):
        stack = _fit(
            predictions[:, fitted], labels[fitted], annotators[fitted], groups[fitted],
            correct,
        )  # fmt: skip
        plain = Stack(stack.weights, (None,) * len(ANNOTATORS))
        stacked[held] = stack.apply(predictions[:, held], annotators[held])
        mixed[held] = plain.apply(predictions[:, held], annotators[held])
    stack = _fit(predictions, labels, annotators, groups, correct)
    corrections = list(stack.corrections)
    for annotator in range(len(ANNOTATORS)):
        rows = annotators == annotator
        before, after = (metrics.rmse(one, labels, rows) for one in (mixed, stacked))
        if before is None or after is None or after >= before:
            corrections[annotator] = None
            stacked[rows] = mixed[rows]
    return Stack(stack.weights, tuple(corrections)), stacked


def _fit(
    predictions: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    groups: np.ndarray,
    correct: Correct,
) -> Stack:
    """Return blend and corrections fitted on all of these faces."""
    plain, mixed = fit_simplex(predictions, labels, annotators)
    corrections = []
    for annotator in range(len(ANNOTATORS)):
        rows = np.flatnonzero(annotators == annotator)
        corrections.append(
            correct(predictions[:, rows], labels[rows] - mixed[rows], groups[rows], annotator)
        )
    return Stack(plain.weights, tuple(corrections))


def _correct_by_products(
    predictions: np.ndarray, missed: np.ndarray, groups: np.ndarray, annotator: int
) -> Correction | None:
    """Fit what is to be added to the blend, (N, 15, 2) ``missed``; None for too few faces."""
    points = _points(annotator)
    answered = np.isfinite(predictions[..., 0])
    used = answered.any(1)
    used[:, np.setdiff1d(np.arange(NUM_KEYPOINTS), points)] = False
    known = _known(predictions, missed, points, used)
    if known is None:
        return None
    rows, coordinates, targets = known
    centre, scale = coordinates.mean(0), np.maximum(coordinates.std(0), 1e-6)
    inputs, groups = _with_products((coordinates - centre) / scale, used), groups[rows]
    errors = np.zeros(len(ALPHAS))
    for fitted, held in _splits(groups, _INNER):
        for place, (coefficients, intercept) in enumerate(_path(inputs[fitted], targets[fitted])):
            guess = inputs[held] @ coefficients + intercept
            errors[place] += np.square(guess - targets[held]).sum()
    best = int(errors.argmin())
    coefficients, intercept = _path(inputs, targets, ALPHAS[: best + 1])[-1]
    return Correction(used, centre, scale, coefficients, intercept, points, np.array(ALPHAS[best]))


def _correct_by_shape(
    predictions: np.ndarray, missed: np.ndarray, groups: np.ndarray, annotator: int
) -> Correction | None:
    """Fit a ridge regression from where all points of the face were seen.

    Eyebrows know where eyes are. Also for a source that labels four points all fifteen are looked
    at: the networks answer for them.
    """
    points, used = _points(annotator), np.isfinite(predictions[..., 0]).any(1)
    known = _known(predictions, missed, points, used)
    if known is None:
        return None
    rows, coordinates, targets = known
    centre, scale = coordinates.mean(0), np.maximum(coordinates.std(0), 1e-6)
    inputs = (coordinates - centre) / scale
    splits = list(_splits(groups[rows], _INNER)) or None
    model = RidgeCV(SHAPE_ALPHAS, cv=splits).fit(inputs, targets)
    return Correction(
        used, centre, scale, model.coef_.T, model.intercept_, points, np.array(model.alpha_)
    )


def _points(annotator: int) -> np.ndarray:
    return np.array(PARTIAL_KEYPOINTS if annotator == PARTIAL else range(NUM_KEYPOINTS))


def _known(
    predictions: np.ndarray, missed: np.ndarray, points: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the (N,) usable rows, their (n, C) coordinates and (n, 2P) targets, if enough."""
    targets = missed[:, points].reshape(len(missed), 2 * len(points))
    answered = np.isfinite(predictions[..., 0])
    rows = np.isfinite(targets).all(1) & (answered | ~used[:, None]).all((0, 2))
    if not used.any() or rows.sum() < _FEWEST:
        return None
    return rows, _coordinates(predictions[:, rows], used), targets[rows]


def _path(
    inputs: np.ndarray, targets: np.ndarray, alphas: Sequence[float] = ALPHAS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (F, T) coefficients and (T,) intercept for each penalty, each from the one before."""
    middle, mean = inputs.mean(0), targets.mean(0)
    with warnings.catch_warnings():
        # Stopped short, a fit is smoother than asked for: what it is worth is measured anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, path, _ = lasso_path(
            np.asfortranarray(inputs - middle), np.asfortranarray(targets - mean), alphas=alphas,
            tol=1e-3, max_iter=100,
        )  # fmt: skip
    return [(one, mean - middle @ one) for one in path.transpose(2, 1, 0)]


def _coordinates(predictions: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (N, C) float64: the used coordinates of (R, N, 15, 2), recipe after recipe."""
    blocks = [
        one[:, own].reshape(len(one), 2 * own.sum())
        for one, own in zip(predictions, used, strict=True)
    ]
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def _with_products(coordinates: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (N, F): standardised coordinates, then the products of every two of one recipe."""
    blocks, start = [coordinates], 0
    for count in 2 * used.sum(1):
        one, other = start + np.array(np.triu_indices(count, 1))
        blocks.append(coordinates[:, one] * coordinates[:, other])
        start += count
    return np.concatenate(blocks, axis=1)


def _splits(groups: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to fit on and rows held out, as many times as there are groups for, or never."""
    count = min(count, len(np.unique(groups)))
    if count > 1:
        yield from GroupKFold(count).split(groups, groups=groups)


MODELS: Mapping[str, Correct] = {"stack": _correct_by_products, "shape": _correct_by_shape}
"""What corrects the simplex blend, by the name that an ensemble's ``blend`` gives."""

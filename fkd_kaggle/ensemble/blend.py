"""The blend of a run's members: fitted on out-of-fold predictions, applied to new faces.

Members worse than the mean face are excluded. If the remaining members of each recipe are about
equally good, all members of a recipe share one weight, and a linear correction may follow
(``ensemble.stacking``). Otherwise each member has its own weight (``ensemble.member_weights``).

Pure array computation without networks and files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fkd_kaggle.data import metrics
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import blending, fold_noise, fold_rule, member_weights, stacking
from fkd_kaggle.ensemble.member_errors import (
    HeldOutPredictions,
    Score,
    mean_squares,
    score_member,
    stack_by_recipe,
)
from fkd_kaggle.ensemble.reference import mean_face, predict_mean_face
from fkd_kaggle.ensemble.stacking import Correction, Stack
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS

_EMPTY_STACK = Stack(np.zeros((len(ANNOTATORS), NUM_KEYPOINTS, 0)), (None,) * len(ANNOTATORS))

_POINTS = frozenset(range(NUM_KEYPOINTS))

_CLEARLY_BETTER = 0.9
"""Factor on the estimated mean squared error. Weights of single members must reach it to replace
the recipes' weights: the errors of folds differ by chance too."""


@dataclass(frozen=True)
class Blend:
    """How the predictions of a run's members become the run's prediction."""

    members: tuple[str, ...]
    """Names of the M members that are used."""
    owners: tuple[str, ...]
    """Name of the recipe of each member."""
    excluded: tuple[str, ...]
    """Names of members that are not used: the mean face is better on their held-out faces, or they
    diverged and have no finite prediction."""
    recipes: tuple[str, ...]
    """Names of the R recipes of the used members, in the order of the stack's weights."""
    stack: Stack
    """Weights of the recipes and corrections."""
    member_weights: np.ndarray | None
    """(2, 15, M + 1) float64 weights of the members and of the mean face; None if all members of
    a recipe share its weight."""
    mean_face: np.ndarray
    """(2, 15, 2) float64 pixels, used for keypoints that no member predicts."""

    def apply(self, predictions: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        """Blend the members' predictions.

        A missing prediction of a member is left out of the mean of its recipe.

        Parameters
        ----------
        predictions
            (M, N, 15, 2) float32 pixels, NaN where missing.
        annotators
            (N,) uint8, annotator whose conventions the predictions follow: 0 complete, 1 partial.

        Returns
        -------
        numpy.ndarray
            (N, 15, 2) float32 pixels; the mean face where no member has a prediction.
        """
        constant = self.mean_face[annotators].astype(np.float32)
        if not self.members:
            return constant
        if self.member_weights is not None:
            everyone = np.concatenate([predictions, constant[None]])
            return blending.apply_weights(everyone, self.member_weights, annotators)
        by_recipe = np.stack(
            [
                metrics.masked_means(predictions[[owner == recipe for owner in self.owners]], 0)
                for recipe in self.recipes
            ]
        ).astype(np.float32)
        result = self.stack.apply(by_recipe, annotators)
        return np.where(np.isfinite(result), result, constant)

    def all_weights(self) -> np.ndarray:
        """Return (2, 15, M + 1) float64 weights of the members and of the mean face."""
        if self.member_weights is not None:
            return self.member_weights
        return shared_weights(self.stack.weights, self.owners, self.recipes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the blend as arrays by name, to be stored in blend.npz."""
        parts = {
            **self.stack.arrays(),
            "members": np.array(self.members, dtype=np.str_),
            "owners": np.array(self.owners, dtype=np.str_),
            "excluded": np.array(self.excluded, dtype=np.str_),
            "mean_face": self.mean_face,
        }
        if self.member_weights is not None:
            parts["member_weights"] = self.member_weights
        return parts

    def check(self) -> None:
        """Check that names and arrays fit each other.

        Raises
        ------
        ValueError
            A member has no recipe, an array has the wrong shape, or the recipes' weights are not
            finite.
        """
        points = (len(ANNOTATORS), NUM_KEYPOINTS)
        expected: list[tuple[np.ndarray, tuple[int, ...]]] = [
            (self.stack.weights, (*points, len(self.recipes))),
            (self.mean_face, (*points, 2)),
        ]
        if self.member_weights is not None:
            expected.append((self.member_weights, (*points, len(self.members) + 1)))
        for correction in self.stack.corrections:
            if correction is not None:
                expected += _correction_shapes(correction, len(self.recipes))
        for array, shape in expected:
            if array.shape != shape or array.dtype.kind not in "biuf":
                raise ValueError(f"an array of shape {array.shape} should have {shape}")
        if len(self.owners) != len(self.members) or not set(self.owners) <= set(self.recipes):
            raise ValueError("a member has no recipe")
        if not np.isfinite(self.stack.weights).all():
            raise ValueError("the weights are not finite")

    @classmethod
    def from_arrays(cls, recipes: Sequence[str], parts: Mapping[str, np.ndarray]) -> Self:
        """Return a blend from the arrays of ``Blend.arrays``.

        Parameters
        ----------
        recipes
            Names of the recipes.
        parts
            The arrays.

        Raises
        ------
        KeyError
            An array is missing, as in runs of earlier versions.
        """
        names = {
            key: tuple(str(one) for one in parts[key]) for key in ("members", "owners", "excluded")
        }
        return cls(
            **names,
            recipes=tuple(recipes),
            stack=Stack.from_arrays(parts),
            member_weights=parts.get("member_weights"),
            mean_face=parts["mean_face"],
        )


@dataclass(frozen=True)
class FittedBlend:
    """A blend and what its fit found out."""

    blend: Blend
    predictions: np.ndarray
    """(N, 15, 2) float32 pixels, the blend's predictions for held-out faces. Keypoints that only
    excluded members predict have the mean face; NaN for keypoints that no member predicts."""
    scored: np.ndarray
    """(N,) bool, the faces that a used member holds out; scores are computed on them. All faces
    with predictions if no member is used."""
    gain: float
    """Change of the mean squared error on held-out faces by the correction, square pixels."""
    scores: Mapping[str, Score]
    """Scores of all members by name, excluded ones too."""
    errors: np.ndarray
    """(M + 1, 2, 15) mean squared errors of the used members and the mean face, from
    ``member_errors``: missing errors are filled, and differences between the folds of a recipe that
    the choice of faces explains are removed."""
    differences: np.ndarray
    """(2, 15, M + 1, M + 1) mean squared differences between them."""


PredictUnlabelled = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Names of M members → their (M, T, 15, 2) predictions in pixels and the (T,) annotators."""


def fit_blend(
    members: Sequence[HeldOutPredictions],
    training: Faces,
    corrected_faces: Faces,
    held_out: np.ndarray,
    query_counts: np.ndarray,
    kind: str,
    predict_unlabelled: PredictUnlabelled | None = None,
) -> FittedBlend:
    """Fit a blend on the out-of-fold predictions of a run's members.

    Parameters
    ----------
    members
        Out-of-fold predictions of all members with weights; at least one.
    training
        The N training faces.
    corrected_faces
        The same faces with corrected labels, to which the weights of recipes are fitted.
    held_out
        (N,) int64, the fold of each face.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.
    kind
        One of ``recipes.schema.BLENDS``.
    predict_unlabelled
        Predicts further faces, on which members are compared. Without it an average correlation
        of the members' errors is assumed.

    Returns
    -------
    FittedBlend
        The blend.
    """
    labels, annotators = training.keypoints, training.annotators
    constant = predict_mean_face(labels, annotators, held_out)
    scores = {
        one.name: score_member(one, constant, labels, annotators, query_counts) for one in members
    }
    used = [one for one in members if not scores[one.name].is_excluded]
    scored = _held_out_rows(used or members, len(labels))
    blend = Blend(
        members=tuple(one.name for one in used),
        owners=tuple(one.recipe for one in used),
        excluded=tuple(name for name, score in scores.items() if score.is_excluded),
        recipes=tuple(dict.fromkeys(one.recipe for one in used)),
        stack=_EMPTY_STACK,
        member_weights=None,
        mean_face=mean_face(labels, annotators),
    )
    errors = member_errors(used, training, constant, query_counts)
    corrected = plain = np.full(labels.shape, np.nan, np.float32)
    if used:
        stacked = stack_by_recipe(used, blend.recipes, len(labels))
        stack, corrected = stacking.fit_by_name(kind, stacked, corrected_faces)
        plain = blending.apply_weights(stacked, stack.weights, annotators)
        blend = replace(blend, stack=stack)

    def keep_rule(candidates: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[int, ...]]:
        return fold_rule.apply_rule(
            candidates, _by_fold(used), constant, labels, annotators, query_counts
        )

    predictions, choices = keep_rule([corrected, plain])
    differences = _differences(blend, errors, predict_unlabelled)
    weights = _better_weights(blend, errors, differences, query_counts)
    if weights is not None or 2 in choices:
        # Corrections are fitted to members of equal quality.
        stack = Stack(blend.stack.weights, (None,) * len(ANNOTATORS))
        blend = replace(blend, stack=stack, member_weights=weights)
        corrected = plain
        predictions, _ = keep_rule([plain])
    return FittedBlend(
        blend,
        _fill_mean_face(predictions, members, constant),
        scored,
        _gain(corrected, plain, labels, annotators, query_counts),
        scores,
        errors,
        differences,
    )


def _correction_shapes(
    correction: Correction, recipes: int
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """Return the arrays of a correction of R recipes, each with the shape that it must have.

    Raises
    ------
    ValueError
        The masks are not booleans by recipe and keypoint, or a corrected keypoint does not exist.
    """
    used, points = correction.used, correction.points
    if used.shape != (recipes, NUM_KEYPOINTS) or used.dtype.kind != "b":
        raise ValueError("the used keypoints do not fit the recipes")
    if points.ndim != 1 or points.dtype.kind not in "iu" or not set(points) <= _POINTS:
        raise ValueError("a corrected keypoint does not exist")
    by_recipe = 2 * used.sum(1)
    inputs, outputs = int(by_recipe.sum()), 2 * len(points)
    features = inputs
    if len(correction.coefficients) > inputs:  # with the products of ``correction_inputs``
        features += int((by_recipe * (by_recipe - 1) // 2).sum())
    return [
        (correction.centre, (inputs,)),
        (correction.scale, (inputs,)),
        (correction.coefficients, (features, outputs)),
        (correction.intercept, (outputs,)),
    ]


def _fill_mean_face(
    predictions: np.ndarray, members: Sequence[HeldOutPredictions], constant: np.ndarray
) -> np.ndarray:
    """Return predictions with the mean face where only excluded members have predictions."""
    result = predictions.copy()
    for member in members:
        rows = member.rows
        missing = np.isfinite(member.predictions) & np.isnan(result[rows])
        result[rows] = np.where(missing, constant[rows], result[rows])
    return result


def _held_out_rows(members: Sequence[HeldOutPredictions], count: int) -> np.ndarray:
    """Return (count,) bool, the faces that the members hold out."""
    rows = np.zeros(count, bool)
    for member in members:
        rows[member.rows] = True
    return rows


def _by_fold(members: Sequence[HeldOutPredictions]) -> list[list[HeldOutPredictions]]:
    """Return the members in lists of those that hold out the same faces."""
    folds: dict[bytes, list[HeldOutPredictions]] = {}
    for member in members:
        folds.setdefault(np.sort(member.rows).tobytes(), []).append(member)
    return list(folds.values())


def member_errors(
    used: Sequence[HeldOutPredictions],
    training: Faces,
    constant: np.ndarray,
    query_counts: np.ndarray,
) -> np.ndarray:
    """Return the mean squared errors of members and of the mean face.

    Missing errors are estimated from the other members (``member_weights.fill_errors``).
    Differences between the folds of a recipe that the choice of faces explains are removed
    (``fold_noise.pool_errors``).

    Parameters
    ----------
    used
        M members.
    training
        The N training faces.
    constant
        (N, 15, 2) pixels, predictions of the mean face.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    numpy.ndarray
        (M + 1, 2, 15) float64 square pixels, the mean face last; NaN for keypoints that a member
        does not predict, and where no member and no label gives an error.
    """
    labels, annotators = training.keypoints, training.annotators
    found = [mean_squares(one.predictions, labels[one.rows], annotators[one.rows]) for one in used]
    found.append(mean_squares(constant, labels, annotators))
    errors = np.stack(found)
    predicted = np.isfinite(errors)
    for index, one in enumerate(used):
        for annotator in range(len(ANNOTATORS)):
            own = one.predictions[annotators[one.rows] == annotator]
            # Without faces of the annotator in the fold: the keypoints of the other faces.
            own = own if len(own) else one.predictions
            predicted[index, annotator] = np.isfinite(own[..., 0]).any(0)
    filled = member_weights.fill_errors(errors, predicted)
    return fold_noise.pool_errors(filled, used, training, query_counts)


def shared_weights(
    weights: np.ndarray, owners: Sequence[str], recipes: Sequence[str]
) -> np.ndarray:
    """Return (2, 15, M + 1) weights of members that share their recipe's weight equally.

    The last weight is the mean face's, for keypoints without a member.

    Parameters
    ----------
    weights
        (2, 15, R) weights of the recipes.
    owners
        Name of the recipe of each of the M members.
    recipes
        Names of the R recipes.
    """
    result = np.zeros((len(ANNOTATORS), NUM_KEYPOINTS, len(owners) + 1))
    for index, owner in enumerate(owners):
        recipe = recipes.index(owner)
        result[..., index] = weights[..., recipe] / owners.count(owner)
    result[..., -1] = result[..., :-1].sum(-1) == 0
    return result


def _better_weights(
    blend: Blend, errors: np.ndarray, differences: np.ndarray, query_counts: np.ndarray
) -> np.ndarray | None:
    """Return (2, 15, M + 1) weights of single members if they are clearly better, else None."""
    if not blend.members:
        return None
    shared = blend.all_weights()
    found = member_weights.fit_member_weights(errors, differences, shared, query_counts)
    before, after = (
        total_error(member_weights.estimate_errors(each, errors, differences), query_counts)
        for each in (shared, found)
    )
    if before is None or after is None or after >= _CLEARLY_BETTER * before:
        return None
    return found


def _differences(
    blend: Blend, errors: np.ndarray, predict_unlabelled: PredictUnlabelled | None
) -> np.ndarray:
    """Return (2, 15, M + 1, M + 1) mean squared differences of the members and the mean face."""
    if predict_unlabelled is None:
        return member_weights.assume_differences(errors)
    predictions, annotators = predict_unlabelled(blend.members)
    constant = blend.mean_face[annotators].astype(np.float32)
    return member_weights.mean_differences(
        np.concatenate([predictions, constant[None]]), annotators
    )


def total_error(squares: np.ndarray, query_counts: np.ndarray) -> float | None:
    """Return the mean of (2, 15) squared errors weighted by query counts; None if all are NaN."""
    counts = np.where(np.isfinite(squares), query_counts, 0.0)
    total = counts.sum()
    return float((counts * np.nan_to_num(squares)).sum() / total) if total else None


def _gain(
    corrected: np.ndarray,
    plain: np.ndarray,
    labels: np.ndarray,
    annotators: np.ndarray,
    query_counts: np.ndarray,
) -> float:
    """Return by how much a correction changes the mean squared error, in square pixels."""
    if corrected is plain:
        return 0.0
    after, before = (
        metrics.combined_rmse(values, labels, annotators, query_counts)
        for values in (corrected, plain)
    )
    return 0.0 if after is None or before is None else after**2 - before**2

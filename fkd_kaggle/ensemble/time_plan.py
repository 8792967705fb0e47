"""Which members of a plan fit a time limit, and how long a plan takes.

The number of members follows from the speed of the machine and a learning curve: the RMSE of a
network after a fraction f of its epochs is about r·(1 + 0.0094·f^-1.5), with r after all epochs
(cascades on the stand-in, docs/experiments.md). Averaging K networks lowers the squared error to
the fraction 0.92 + 0.08/K. Fewer networks with enough time are better than many with too little:
twice as many networks gain 1 to 2 %, 40 epochs instead of 20 gain 4 to 5 %.

Computes numbers; trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe

_CURVE, _POWER = 0.0094, 1.5

_SHARED = 0.92
"""Part of the squared error that the networks of a recipe share: the average of 0.94, 0.92, 0.94
and 0.89, which follow from means of one and two cascades of 20 epochs (1.274, 1.256), of one and
two of 60 (1.174, 1.149), of one and four of 45 (1.169, 1.140; docs/experiments.md), and of two
(README) and four of 28 with the correction by shape (scored 1.166, 1.148)."""

_ENOUGH = 0.65
"""Fraction of its epochs that the most important recipe needs before others are trained. Cascades
of 40, 63 and 80 epochs have errors of 1.150, 1.143 and 1.138; a different network beside them
reduces the error by 1 to 2 %, if it is not short of time itself (docs/experiments.md)."""

_FEWEST_FOLDS = 3
"""Number of folds on which all recipes are trained before recipes are left out. In 20 minutes, two
cascades and two heatmap networks are worse than three cascades (docs/experiments.md): the weights
and the correction need the faces of several folds."""

_USEFUL = 0.04
"""Fraction of the epochs after which a network is clearly better than the mean face."""

_USEFUL_EPOCHS = 8.0
"""The same in epochs, for recipes with very many epochs."""


@dataclass(frozen=True)
class Speed:
    """The speed of one worker with one recipe."""

    images_per_second: float
    overhead: float
    """Seconds that each network takes besides training: compilation, predictions."""


@dataclass(frozen=True)
class Times:
    """What times of a plan depend on."""

    workers: int
    """Number of networks trained at the same time."""
    faces: Callable[[Recipe], int]
    """Returns the number of faces that a network of a recipe is trained on."""
    start: float
    """Seconds before the first network and after the last one: start, blend, report."""
    speed: Callable[[Recipe], Speed]
    """Returns the speed of a worker that shares its core or GPU with no other worker."""
    cores: int | None = None
    """Number of CPU cores that the workers share; None if each worker has its own device."""

    def slowdown(self, members: int) -> float:
        """Return how many times as long each network takes because workers share cores.

        Somewhat too large for the last networks, when fewer workers are left.

        Parameters
        ----------
        members
            Number of networks to train, which limits the number of workers.
        """
        if self.cores is None:
            return 1.0
        return max(1.0, min(self.workers, members) / max(1, self.cores))


@dataclass(frozen=True)
class TimePlan:
    """The members that are trained in a time."""

    members: tuple[Member, ...]
    """In the order that was given."""
    fraction: float
    """Fraction of its ``epochs`` that the most important recipe is trained for; more than 1 with
    ``extended_epochs``."""
    seconds: float
    """Expected duration."""


def epoch_seconds(recipe: Recipe, times: Times) -> float:
    """Return the seconds of one epoch of a worker that shares its core with no other worker."""
    images = max(times.faces(recipe), recipe.batch_size)
    return images / max(times.speed(recipe).images_per_second, 1e-6)


def full_seconds(members: Sequence[Member], times: Times, *, is_limited: bool = False) -> float:
    """Return how long the members take for all epochs of their recipes.

    Parameters
    ----------
    members
        The members, in training order.
    times
        Workers, faces and speeds.
    is_limited
        Whether there is a time limit, so that recipes use their ``extended_epochs``.
    """

    def seconds(recipe: Recipe) -> float:
        epochs = recipe.most_epochs(is_limited=is_limited)
        return times.speed(recipe).overhead + epochs * epoch_seconds(recipe, times)

    last_end = _last_end([seconds(member.recipe) for member in members], times.workers)
    return times.start + times.slowdown(len(members)) * last_end


def _last_end(durations: Sequence[float], workers: int) -> float:
    """Return when the last network ends; the first free worker takes the next one."""
    free_at = [0.0] * max(1, min(workers, len(durations)))
    for duration in durations:
        free_at[free_at.index(min(free_at))] += duration
    return max(free_at)


def minimum_seconds(members: Sequence[Member], times: Times) -> float:
    """Return the shortest time limit with a useful result, in seconds.

    One network of the most important recipe, trained alone, must reach ``_USEFUL`` of its epochs,
    at most ``_USEFUL_EPOCHS``.

    Parameters
    ----------
    members
        The members, at least one.
    times
        Faces and speeds: those of an idle machine, or with the load by other programs now.
    """
    recipe = _by_importance(members)[0]
    epochs = min(max(1.0, math.ceil(_USEFUL * recipe.epochs)), _USEFUL_EPOCHS)
    speed = times.speed(recipe)
    return times.start + speed.overhead + epochs * epoch_seconds(recipe, times)


def expected_error(fraction: float, count: int, full: float) -> float:
    """Return the estimated RMSE in pixels of the average of ``count`` networks of a recipe.

    Parameters
    ----------
    fraction
        Fraction of the recipe's epochs that each is trained for.
    count
        Number of networks.
    full
        RMSE of one network after all epochs, in pixels.
    """
    return full * _unfinished(fraction) * math.sqrt(_SHARED + (1 - _SHARED) / count)


def error_after_all_epochs(reached: float, fraction: float) -> float:
    """Return the estimated RMSE of a network after all epochs, from that of a shorter training.

    Parameters
    ----------
    reached
        RMSE in pixels of one network after a fraction of its epochs.
    fraction
        That fraction; above 1 for longer trainings.
    """
    return reached / _unfinished(fraction)


def plan_time(members: Sequence[Member], limit: float | None, times: Times) -> TimePlan:
    """Return the members to train within a time limit.

    All recipes are trained if the most important one, which the ensemble lists first, gets
    ``_ENOUGH`` of its epochs and the others get one epoch, if necessary on fewer folds but at least
    on ``_FEWEST_FOLDS``. Otherwise recipes are left out, the last one first, and then folds of the
    first recipe.

    Parameters
    ----------
    members
        The members that are not trained yet, those of the most important recipe first.
    limit
        Seconds; None for all members with all epochs.
    times
        Workers, faces and speeds.
    """
    if limit is None or not members:
        return TimePlan(tuple(members), 1.0, full_seconds(members, times))
    recipes = _by_importance(members)
    for count in range(len(recipes), 1, -1):
        found = _best_folds(_members_of(members, recipes[:count]), limit, times)
        if found:
            return _time_plan(found, limit, times)
    chosen = _members_of(members, recipes[:1])
    if _main_fraction(chosen, limit, times) >= _ENOUGH:
        return _time_plan(chosen, limit, times)
    candidates = [chosen[:count] for count in range(1, len(chosen) + 1)]
    return _time_plan(min(candidates, key=lambda one: _error(one, limit, times)), limit, times)


def _members_of(members: Sequence[Member], recipes: Sequence[Recipe]) -> list[Member]:
    names = {recipe.name for recipe in recipes}
    return [member for member in members if member.recipe.name in names]


def _best_folds(members: Sequence[Member], limit: float, times: Times) -> list[Member]:
    """Return the members of the first folds with the smallest estimated error.

    Empty if on no number of folds the recipes get the epochs that ``plan_time`` asks for.
    """
    main, *others = _by_importance(members)
    folds = sorted({member.fold for member in members})
    candidates = []
    for count in range(min(_FEWEST_FOLDS, len(folds)), len(folds) + 1):
        chosen = [member for member in members if member.fold in folds[:count]]
        fractions = _fractions(chosen, limit, times)
        # Recipes without a member are trained on these folds already.
        epochs = [fractions.get(recipe.name, 1.0) * recipe.epochs for recipe in others]
        if fractions.get(main.name, 0.0) >= _ENOUGH and min(epochs) >= 1.0:
            candidates.append(chosen)
    return min(candidates, key=lambda one: _error(one, limit, times), default=[])


def _main_fraction(members: Sequence[Member], limit: float, times: Times) -> float:
    """Return the fraction of its epochs that the most important recipe gets."""
    return _fractions(members, limit, times)[_by_importance(members)[0].name]


def _error(members: Sequence[Member], limit: float, times: Times) -> float:
    """Return the estimated error of the average of the most important recipe's networks.

    Relative to one network after all epochs.
    """
    name = _by_importance(members)[0].name
    fraction = _main_fraction(members, limit, times)
    count = sum(member.recipe.name == name for member in members)
    return expected_error(fraction, count, 1.0) if fraction > 0 else math.inf


def _unfinished(fraction: float) -> float:
    """Return how many times as large as after all epochs the RMSE is after a fraction of them."""
    return 1 + _CURVE * max(min(fraction, 1.0), 1e-4) ** -_POWER


def _time_plan(members: Sequence[Member], limit: float, times: Times) -> TimePlan:
    seconds = min(limit, full_seconds(members, times, is_limited=True))
    return TimePlan(tuple(members), _main_fraction(members, limit, times), seconds)


def _by_importance(members: Sequence[Member]) -> list[Recipe]:
    """Return the recipes of members as the ensemble lists them, the most important one first."""
    return list({member.recipe.name: member.recipe for member in members}.values())


def _fractions(members: Sequence[Member], limit: float, times: Times) -> dict[str, float]:
    """Return the fraction of its ``epochs`` that each recipe gets, by name.

    At most 1, or the ratio of ``extended_epochs`` to ``epochs``.
    """
    workers = max(1, min(times.workers, len(members)))
    total = sum(member.share for member in members)
    # Workers without a last network are idle: each network takes its share of the time.
    busy = total / (workers * _last_end([member.share for member in members], workers))
    overhead = sum(times.speed(member.recipe).overhead for member in members)
    # Seconds in which a worker would train as much without sharing its core.
    available = (limit - times.start) / times.slowdown(len(members))
    seconds = max(0.0, workers * busy * available - overhead)
    found = {}
    for member in members:
        epochs = seconds * member.share / total / epoch_seconds(member.recipe, times)
        epochs = min(epochs, member.recipe.most_epochs(is_limited=True))
        found[member.recipe.name] = epochs / member.recipe.epochs
    return found

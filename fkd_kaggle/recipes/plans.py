"""Plans: the members of an ensemble with their folds, seeds and shares of the time.

Combines recipes with the user's options; trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.recipes import renamed
from fkd_kaggle.recipes.loading import limit_length, load_recipe, recipe_from_dict
from fkd_kaggle.recipes.schema import DEFAULT, PRECISIONS, SPLITS, Ensemble, EnsembleMember, Recipe
from fkd_kaggle.recipes.validation import (
    check_ensemble_settings,
    check_recipe,
    splits_after_augmentation,
)

SEEDS = 2**32
"""Number of random seeds: NumPy, scikit-learn and Keras take 0 to 2**32 - 1."""


@dataclass(frozen=True)
class Member:
    """A network of an ensemble: a recipe, a fold that is held out, and a random seed."""

    name: str
    recipe: Recipe
    fold: int
    seed: int
    share: float


@dataclass(frozen=True)
class Plan:
    """A training of an ensemble; stored in the run folder, from which it can be resumed."""

    ensemble: Ensemble
    seed: int = 0
    precision: str = "auto"
    time_limit: float | None = None
    """Total training time in seconds, validation and blending included; None for no limit."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the members in training order: all recipes on one fold, then on the next fold."""
        folds = self.ensemble.trained_folds or self.ensemble.folds
        return tuple(
            Member(
                name=f"{line.recipe.name}-f{fold}" + (f"-s{seed}" if seed else ""),
                recipe=line.recipe,
                fold=fold,
                # Networks of different folds should differ in more than their data.
                seed=(self.seed * 1000 + seed * 100 + fold) % SEEDS,
                share=line.share,
            )
            for fold in range(folds)
            for line in self.ensemble.members
            for seed in range(line.seeds)
        )

    def most_epochs(self, member: Member) -> int:
        """Return the largest number of epochs of a member in the plan's time limit."""
        return member.recipe.most_epochs(is_limited=self.time_limit is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan of which ``values`` are ``to_dict()``, also of version 0.1.0."""
        values = renamed.plan_to_new(values)
        ensemble = dict(values["ensemble"])
        members = tuple(
            EnsembleMember(**{**line, "recipe": recipe_from_dict(line["recipe"])})
            for line in ensemble["members"]
        )
        return cls(**{**values, "ensemble": Ensemble(**{**ensemble, "members": members})})


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training that the user can choose."""

    recipes: Sequence[str] = ()
    """Names for ``load_recipe``; the default ensemble if empty. An ensemble alone keeps its folds
    and its time limit, and a recipe alone keeps its split. Several recipes or ensembles are joined
    to an ensemble with five folds."""
    time_limit: float | None = None
    """Total training time in seconds; the ensemble's own if None and no ``epochs`` are given."""
    folds: int | None = None
    """Number of grouped folds, each of which is held out once; the ensemble's own if None."""
    epochs: int | None = None
    """Number of epochs of every recipe, which a time limit does not extend; their own if None."""
    batch_size: int | None = None
    """Number of faces in a batch of every recipe; their own if None."""
    seed: int | None = None
    """Random seed; 0 if None."""
    precision: str = "auto"
    """One of ``PRECISIONS``."""


def make_plan(options: TrainingOptions) -> Plan:
    """Combine recipes and ensembles with the user's options.

    Raises
    ------
    RecipeError
        A name is unknown or a value is out of range.
    """
    folds, time_limit = options.folds, options.time_limit
    loaded = [load_recipe(name) for name in options.recipes or (DEFAULT,)]
    ensemble = _combine(loaded, folds)
    given = (("epochs", options.epochs), ("batch_size", options.batch_size))
    changes: dict[str, Any] = {key: value for key, value in given if value is not None}
    if options.epochs is not None:
        changes["extended_epochs"] = 0
    members = tuple(
        replace(line, recipe=replace(line.recipe, **changes)) for line in ensemble.members
    )
    ensemble = replace(ensemble, members=members)
    if folds is not None:
        ensemble = replace(ensemble, folds=folds, trained_folds=0, split="grouped", held_out=0.0)
    if ensemble.held_out:
        ensemble = replace(ensemble, trained_folds=1)  # only one part is held out
    _check_ensemble(ensemble)
    if options.precision not in PRECISIONS:
        raise RecipeError(unknown_name("precision", options.precision, PRECISIONS))
    if not 0 <= (options.seed or 0) < SEEDS:
        raise RecipeError(f"--seed must be 0 to {SEEDS - 1}, not {options.seed}")
    if time_limit is None and ensemble.minutes and options.epochs is None:
        time_limit = ensemble.minutes * 60
    return Plan(ensemble, options.seed or 0, options.precision, time_limit)


def _combine(loaded: Sequence[Recipe | Ensemble], folds: int | None) -> Ensemble:
    """Return one ensemble of all recipes, each of which must have a different name."""
    if len(loaded) == 1 and isinstance(loaded[0], Ensemble):
        ensemble = loaded[0]
    else:
        lines: list[EnsembleMember] = []
        for item in loaded:
            lines += item.members if isinstance(item, Ensemble) else [EnsembleMember(item)]
        name = limit_length("+".join(item.name for item in loaded))
        ensemble = Ensemble(name, tuple(lines))
        if len(lines) == 1 and folds is None:
            ensemble = _with_published_split(ensemble)
    names = [line.recipe.name for line in ensemble.members]
    if len(set(names)) < len(names):
        raise RecipeError(
            f"recipe {max(names, key=names.count)!r} is in the ensemble twice: name it once, "
            "or give the copies names of their own"
        )
    return ensemble


def _with_published_split(ensemble: Ensemble) -> Ensemble:
    """Return an ensemble of one recipe with the split of that recipe."""
    recipe = ensemble.members[0].recipe
    if not recipe.held_out:
        return replace(ensemble, split=recipe.split)
    # Grouped folds have equal sizes: use the number of folds that is nearest to the fraction.
    return replace(
        ensemble,
        split=recipe.split,
        held_out=recipe.held_out,
        folds=max(2, round(1 / recipe.held_out)),
        trained_folds=1,
    )


def _check_ensemble(ensemble: Ensemble) -> None:
    for line in ensemble.members:
        check_recipe(line.recipe, "the command line")
    if ensemble.split not in SPLITS:
        raise RecipeError(unknown_name("split", ensemble.split, SPLITS))
    if ensemble.split == "after-augmentation":
        for line in ensemble.members:
            if not splits_after_augmentation(line.recipe):
                raise RecipeError(
                    "split = 'after-augmentation' needs recipes with offline_augmentation and "
                    f"held_out, which {line.recipe.name} lacks"
                )
    check_ensemble_settings(ensemble, "the command line")

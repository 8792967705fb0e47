"""Plans: which recipes are trained on which folds, with which seeds and in what time.

Combines recipes with what the user overrides; reads no files and trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.recipes.loading import check_recipe, load_recipe, recipe_from_dict
from fkd_kaggle.recipes.schema import DEFAULT, PRECISIONS, SPLITS, Ensemble, EnsembleMember, Recipe


@dataclass(frozen=True)
class Member:
    """One recipe trained on one fold with one seed."""

    name: str
    recipe: Recipe
    fold: int
    seed: int
    share: float


@dataclass(frozen=True)
class Plan:
    """Everything ``ensemble.train`` needs to know; kept in the run so that it can be resumed."""

    ensemble: Ensemble
    seed: int = 0
    precision: str = "auto"
    time_limit: float | None = None
    """Seconds for everything, validation and blending included; None for no limit."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the members in training order: every recipe on a fold before the next fold."""
        folds = self.ensemble.trained_folds or self.ensemble.folds
        return tuple(
            Member(
                name=f"{line.recipe.name}-f{fold}" + (f"-s{seed}" if seed else ""),
                recipe=line.recipe,
                fold=fold,
                # Every member its own seed: the folds' networks should differ in more than data.
                seed=self.seed * 1000 + seed * 100 + fold,
                share=line.share,
            )
            for fold in range(folds)
            for line in self.ensemble.members
            for seed in range(line.seeds)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Rebuild a plan from ``to_dict``."""
        ensemble = dict(values["ensemble"])
        members = tuple(
            EnsembleMember(**{**line, "recipe": recipe_from_dict(line["recipe"])})
            for line in ensemble["members"]
        )
        return cls(**{**values, "ensemble": Ensemble(**{**ensemble, "members": members})})


@dataclass(frozen=True)
class TrainingOptions:
    """What a user can choose for a training; None keeps the value of the recipe or ensemble."""

    recipes: tuple[str, ...] = ()
    """Names of recipes and ensembles, or paths of .toml files; empty for the default ensemble."""
    time_limit: float | None = None
    """Total training time in seconds."""
    folds: int | None = None
    """Number of folds; each is held out once."""
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    precision: str = "auto"
    """One of ``PRECISIONS``."""


def make_plan(
    chosen: Sequence[str] = (),
    *,
    folds: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    precision: str = "auto",
    time_limit: float | None = None,
) -> Plan:
    """Combine named recipes and ensembles with what the user overrides.

    One ensemble alone keeps its own folds and time, one recipe alone its own split; recipes and
    ensembles named together are joined into one with five folds. ``folds`` always means grouped
    folds, every one held out in turn. ``time_limit`` is in seconds.

    Raises
    ------
    RecipeError
        A name is unknown or a value impossible.
    """
    loaded = [load_recipe(name) for name in chosen or (DEFAULT,)]
    if len(loaded) == 1 and isinstance(loaded[0], Ensemble):
        ensemble = loaded[0]
    else:
        lines: list[EnsembleMember] = []
        for item in loaded:
            lines += item.members if isinstance(item, Ensemble) else [EnsembleMember(item)]
        ensemble = Ensemble("+".join(item.name for item in loaded), tuple(lines))
        if len(lines) == 1 and folds is None:
            ensemble = _published_split(ensemble)
    twice = [line.recipe.name for line in ensemble.members]
    if len(set(twice)) < len(twice):
        raise RecipeError(
            f"recipe {max(twice, key=twice.count)!r} is in the ensemble twice: name it once, "
            "or give the copies names of their own"
        )
    changes: dict[str, Any] = {
        key: value
        for key, value in (("epochs", epochs), ("batch_size", batch_size))
        if value is not None
    }
    ensemble = replace(
        ensemble,
        members=tuple(
            replace(line, recipe=replace(line.recipe, **changes)) for line in ensemble.members
        ),
        folds=ensemble.folds if folds is None else folds,
        trained_folds=ensemble.trained_folds if folds is None else 0,
        split=ensemble.split if folds is None else "grouped",
        held_out=ensemble.held_out if folds is None else 0.0,
    )
    if ensemble.held_out:
        ensemble = replace(ensemble, trained_folds=1)  # the other part is what it learns from
    for line in ensemble.members:
        check_recipe(line.recipe, "the command line")
    if ensemble.split not in SPLITS:
        raise RecipeError(unknown_name("split", ensemble.split, SPLITS))
    if ensemble.split == "enlarged-first":
        for line in ensemble.members:
            if not (line.recipe.enlarge and line.recipe.held_out):
                raise RecipeError(
                    f"split = 'enlarged-first' needs recipes with enlarge and held_out, "
                    f"which {line.recipe.name} lacks"
                )
    if not 0 <= ensemble.held_out < 1:
        raise RecipeError(f"held_out is a share: 0 or more, below 1, not {ensemble.held_out}")
    if ensemble.folds < 2:
        raise RecipeError(f"folds must be at least 2, not {ensemble.folds}: one is held out")
    if precision not in PRECISIONS:
        raise RecipeError(unknown_name("precision", precision, PRECISIONS))
    if time_limit is None and ensemble.minutes and epochs is None:
        time_limit = ensemble.minutes * 60
    return Plan(ensemble, seed or 0, precision, time_limit)


def _published_split(ensemble: Ensemble) -> Ensemble:
    """Return an ensemble of one recipe with the split that recipe's source used."""
    recipe = ensemble.members[0].recipe
    if not recipe.held_out:
        return replace(ensemble, split=recipe.split)
    # One part is held out, once. Grouped folds come in equal parts: the nearest number of them.
    return replace(
        ensemble, split=recipe.split, held_out=recipe.held_out,
        folds=max(2, round(1 / recipe.held_out)), trained_folds=1,
    )  # fmt: skip

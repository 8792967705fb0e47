"""Recipes: networks and ensembles as data, in TOML files a user can copy and edit.

A *recipe* says how one network is built and trained; an *ensemble* lists recipes, the folds and the
time they share. Both are found by name here, or by the path of a user's own file. This package
reads, checks and writes them; it trains nothing.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from fkd_kaggle.errors import RecipeError, unknown
from fkd_kaggle.keypoints import PARTIAL, REGIONS

DEFAULT = "standard"
"""The ensemble that ``train-ensemble`` trains when none is named."""

LOSSES = ("smooth-l1", "mse", "mae", "wing")
SCHEDULES = ("cosine", "plateau")
SOURCE_OUTPUTS = ("separate", "shared")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Augmentation:
    """How far views may stray. Standard deviations where the name says so, else half-ranges.

    All zero means the identity, which is what prediction starts from.
    """

    rotation: float = 10.0
    """Standard deviation in degrees."""
    scale: float = 0.10
    """Standard deviation of the logarithm of the zoom factor."""
    stretch: float = 0.0
    """Standard deviation of the logarithm of the aspect ratio."""
    shear: float = 0.0
    """Standard deviation of the horizontal shear factor."""
    shift: float = 4.0
    """Standard deviation in pixels, each axis."""
    flip: float = 0.5
    """Probability of a mirrored view."""
    brightness: float = 0.15
    """Half-range of the added offset, as a share of the grey range."""
    contrast: float = 0.3
    """Half-range of the logarithm of the gain around mid-grey."""
    gamma: float = 0.3
    """Half-range of the logarithm of the exponent."""
    noise: float = 0.03
    """Largest standard deviation of pixel noise, as a share of the grey range."""
    erase: float = 0.0
    """Probability that a random rectangle is filled with grey (random erasing, Zhong 2017)."""


@dataclass(frozen=True)
class Recipe:
    """How one network is built and trained."""

    name: str
    description: str = ""
    source: str = ""
    """The paper, notebook or system it comes from."""
    architecture: str = "heatmap"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture's ``build``."""
    region: str = "all"
    """Which keypoints it answers for: all, eyes-nose or mouth-eyebrows."""
    source_outputs: str = "separate"
    """"separate": own outputs for each annotation source; "shared": one set for both."""
    loss: str = "smooth-l1"
    loss_width: float = 1.0
    """Where smooth-L1 turns from quadratic to linear and Wing from logarithmic, in pixels."""
    heatmap_loss: float = 0.0
    """Weight of the cross-entropy between maps and Gaussians at the labels; heatmap networks."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    patience: int = 0
    """Epochs without a better validation score before training stops; 0 never stops early."""
    epochs: int = 60
    batch_size: int = 64
    augmentation: Augmentation = field(default_factory=Augmentation)
    reached: Mapping[str, Any] = field(default_factory=dict)
    """Measured: rmse, minutes, machine, command."""

    @property
    def digest(self) -> str:
        """Return 12 hex digits that change when anything that shapes the training changes."""
        shaping = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("name", "description", "source", "reached")
        }
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]

    def outputs(self) -> tuple[tuple[int, ...], ...]:
        """Return the keypoints answered for, one tuple per head of the network.

        The first head speaks the complete source's habits, a second one the partial source's.
        """
        points = REGIONS[self.region]
        common = tuple(point for point in points if point in PARTIAL)
        if self.source_outputs == "shared" or not common:
            return (points,)
        return (points, common)


@dataclass(frozen=True)
class EnsembleMember:
    """One line of an ensemble: a recipe, its share of the time and how many seeds of it."""

    recipe: Recipe
    share: float = 1.0
    seeds: int = 1


@dataclass(frozen=True)
class Ensemble:
    """Recipes that are trained on the same folds and blended."""

    name: str
    members: tuple[EnsembleMember, ...]
    description: str = ""
    folds: int = 5
    """Parts the training faces are split into."""
    trained_folds: int = 0
    """How many of them are held out in turn; 0 for all."""
    minutes: float = 0.0
    """Time limit; 0 for none: every member trains its recipe's epochs."""
    reached: Mapping[str, Any] = field(default_factory=dict)


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
            EnsembleMember(**{**line, "recipe": _recipe_from_fields(line["recipe"])})
            for line in ensemble["members"]
        )
        return cls(**{**values, "ensemble": Ensemble(**{**ensemble, "members": members})})


def names() -> list[str]:
    """Return the shipped networks and ensembles."""
    folder = resources.files(__name__)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load(name: str) -> Recipe | Ensemble:
    """Read a shipped recipe or ensemble by name, or a user's own by the path of its file.

    Raises
    ------
    RecipeError
        No such name or file, or the file has a wrong key, an unknown name or an impossible value.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"recipe file {name} does not exist")
        return _parse(path.read_text(encoding="utf-8"), path.stem, name)
    if name not in names():
        raise RecipeError(unknown("recipe", name, names()) + "; or give the path of a .toml file")
    text = (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
    return _parse(text, name, f"recipe {name}")


def plan(
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

    One ensemble alone keeps its own folds and time; recipes and ensembles named together are
    joined into one with five folds. ``time_limit`` is in seconds.

    Raises
    ------
    RecipeError
        A name is unknown or a value impossible.
    """
    loaded = [load(name) for name in chosen or (DEFAULT,)]
    if len(loaded) == 1 and isinstance(loaded[0], Ensemble):
        ensemble = loaded[0]
    else:
        lines: list[EnsembleMember] = []
        for item in loaded:
            lines += item.members if isinstance(item, Ensemble) else [EnsembleMember(item)]
        ensemble = Ensemble("+".join(item.name for item in loaded), tuple(lines))
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
    )
    for line in ensemble.members:
        _check(line.recipe, "the command line")
    if ensemble.folds < 2:
        raise RecipeError(f"folds must be at least 2, not {ensemble.folds}: one is held out")
    if precision not in PRECISIONS:
        raise RecipeError(unknown("precision", precision, PRECISIONS))
    if time_limit is None and ensemble.minutes and epochs is None:
        time_limit = ensemble.minutes * 60
    return Plan(ensemble, seed or 0, precision, time_limit)


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as the text of a file that ``load`` reads back."""
    values = {key: value for key, value in asdict(recipe).items() if key != "name"}
    return tomli_w.dumps(values)


def _parse(text: str, name: str, where: str) -> Recipe | Ensemble:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from None
    if "members" in values:
        return _ensemble(values, name, where)
    _check_keys(values, Recipe, where)
    if isinstance(values.get("augmentation"), dict):
        _check_keys(values["augmentation"], Augmentation, f"{where}, [augmentation]")
    elif "augmentation" in values:
        raise RecipeError(f"{where}: augmentation must be a table")
    recipe = _recipe_from_fields({"name": name, **values})
    _check(recipe, where)
    return recipe


def _ensemble(values: dict[str, Any], name: str, where: str) -> Ensemble:
    _check_keys(values, Ensemble, where)
    lines = []
    for line in values["members"]:
        if not isinstance(line, dict) or "recipe" not in line:
            raise RecipeError(f'{where}: each of members must look like {{recipe = "heatmap"}}')
        _check_keys(line, EnsembleMember, f"{where}, members")
        recipe = load(line["recipe"])
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{where}: member {line['recipe']!r} is itself an ensemble")
        lines.append(EnsembleMember(**{**line, "recipe": recipe}))
    if not lines:
        raise RecipeError(f"{where}: members is empty")
    return Ensemble(**{"name": name, **values, "members": tuple(lines)})


def _recipe_from_fields(values: Mapping[str, Any]) -> Recipe:
    augmentation = Augmentation(**values.get("augmentation", {}))
    return Recipe(**{**values, "augmentation": augmentation})


def _check_keys(values: Mapping[str, Any], kind: type, where: str) -> None:
    """Refuse keys the dataclass ``kind`` lacks and values of another type."""
    types = get_type_hints(kind)
    for key, value in values.items():
        if key not in types or key == "name":
            raise RecipeError(f"{where}: " + unknown("key", key, [k for k in types if k != "name"]))
        wanted = types[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if wanted is float and not number:
            raise RecipeError(f"{where}: {key} must be a number, not {value!r}")
        if wanted is int and not (number and isinstance(value, int)):
            raise RecipeError(f"{where}: {key} must be a whole number, not {value!r}")
        if wanted is str and key != "recipe" and not isinstance(value, str):
            raise RecipeError(f"{where}: {key} must be text, not {value!r}")


def _check(recipe: Recipe, where: str) -> None:
    """Refuse unknown names and impossible values."""
    from fkd_kaggle import models

    for what, value, known in (
        ("architecture", recipe.architecture, models.names()),
        ("region", recipe.region, REGIONS),
        ("loss", recipe.loss, LOSSES),
        ("schedule", recipe.schedule, SCHEDULES),
        ("source_outputs", recipe.source_outputs, SOURCE_OUTPUTS),
    ):
        if value not in known:
            raise RecipeError(f"{where}: " + unknown(what, value, known))
    for key in ("epochs", "batch_size", "learning_rate", "loss_width"):
        if getattr(recipe, key) <= 0:
            raise RecipeError(f"{where}: {key} must be above 0, not {getattr(recipe, key)}")
    for strength in fields(recipe.augmentation):
        if getattr(recipe.augmentation, strength.name) < 0:
            raise RecipeError(f"{where}: augmentation.{strength.name} must not be negative")

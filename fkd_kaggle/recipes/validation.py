"""Validation of recipes and ensembles: keys, types, known names and ranges of values.

Each error is a ``RecipeError`` of one line that names the file, the key and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, get_origin, get_type_hints

from fkd_kaggle import models, user_code
from fkd_kaggle.data.imputation import IMPUTATIONS
from fkd_kaggle.data.metrics import METRICS
from fkd_kaggle.errors import DataError, RecipeError, unknown_name
from fkd_kaggle.keypoints import REGIONS, TARGET_SCALES
from fkd_kaggle.nn.losses import LOSSES
from fkd_kaggle.recipes.schema import (
    ANNOTATOR_OUTPUTS,
    BLENDS,
    DISTRIBUTIONS,
    NOT_IN_FILES,
    OPTIMIZERS,
    ROWS,
    SCHEDULES,
    SPLITS,
    Ensemble,
    EnsembleMember,
    Recipe,
)

_POSITIVE: Final = ("epochs", "batch_size", "learning_rate", "loss_width")

_NOT_NEGATIVE: Final = (
    "weight_decay",
    "clip_norm",
    "patience",
    "heatmap_loss",
    "outlier_deviations",
    "extended_epochs",
)

_LARGEST: Final = {
    "epochs": 1_000_000,
    "extended_epochs": 1_000_000,
    "batch_size": 1_000_000,
    "patience": 1_000_000,
    "learning_rate": 1_000,
    "loss_width": 1_000_000,
    "weight_decay": 1_000,
    "clip_norm": 1_000_000,
    "heatmap_loss": 1_000_000,
}
"""Larger values are typing errors; a batch of a billion faces only fills the memory."""

_LARGEST_OPTION: Final = 1_000_000

_MAX_COUNT: Final = 1_000
"""Largest number of folds, and of seeds of a recipe."""

_MAX_NUMBER: Final = 1e9

_USUAL_BATCH: Final = 256

_PROBABILITIES: Final = ("flip", "random_erasing", "zoom_out", "blur")
"""Keys of an augmentation."""

_BELOW_ONE: Final = ("gain", "lighting_gradient")
"""Keys of an augmentation that are the half-range of a factor around 1."""

_REACHED_NUMBERS: Final = ("rmse", "minutes")
"""Keys of the table ``reached`` that are numbers; the others are texts."""

_KINDS: Final[Mapping[Any, tuple[str, Any]]] = {
    float: ("a number", int | float),
    int: ("a whole number", int),
    str: ("text", str),
    bool: ("true or false", bool),
    tuple: ("a list", list),
}
"""Type of a dataclass field → the type of its value in a file, in words and for ``isinstance``."""

_OPTION_KINDS: Final[Mapping[str, tuple[str, Any]]] = {
    "int": ("a whole number", int),
    "float": ("a number", int | float),
    "str": ("text", str),
    "bool": ("true or false", bool),
    "Sequence[int]": ("a list of whole numbers", int),
    "Sequence[float]": ("a list of numbers", int | float),
}
"""The same for options of an architecture, by the annotation in its source. For sequences, the type
is that of an element."""

_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "architecture": ("heads",),
    "loss": ("errors", "width"),
    "imputation": ("labels",),
    "published_metric": ("predictions", "labels"),
    "published": ("predictions", "labels"),
}
"""Keys that can name a function of the user's own, and its positional arguments."""


def check_recipe(recipe: Recipe, where: str) -> None:
    """Refuse unknown names and values out of range.

    Parameters
    ----------
    recipe
        A recipe whose keys and types were checked by ``check_keys``.
    where
        What messages call the recipe's file.

    Raises
    ------
    RecipeError
        Names the key and what is allowed.
    """
    _check_names(recipe, where)
    _check_options(recipe, where)
    _check_ranges(recipe, where)
    _check_patience(recipe, where)
    _check_augmentation(recipe, where)
    _check_results(recipe, where)
    for copy in recipe.offline_augmentation:
        if copy.gain <= 0 or copy.noise < 0:
            raise RecipeError(
                f"{where}: offline_augmentation: gain must be above 0 and noise not negative"
            )
    if recipe.split == "after-augmentation" and not splits_after_augmentation(recipe):
        raise RecipeError(
            f"{where}: split = 'after-augmentation' needs offline_augmentation and held_out"
        )


def check_ensemble_settings(ensemble: Ensemble, where: str) -> None:
    """Refuse folds, shares, seeds and results of an ensemble that are out of range.

    Parameters
    ----------
    ensemble
        An ensemble whose recipes were checked by ``check_recipe``.
    where
        What messages call the ensemble's file.

    Raises
    ------
    RecipeError
        Names the key and what is allowed.
    """
    if ensemble.folds < 2:
        raise RecipeError(
            f"{where}: folds must be at least 2, not {ensemble.folds}: one is held out"
        )
    if ensemble.folds > _MAX_COUNT:
        raise RecipeError(f"{where}: folds must be at most {_MAX_COUNT:,}, not {ensemble.folds}")
    if not 0 <= ensemble.trained_folds <= ensemble.folds:
        raise RecipeError(
            f"{where}: trained_folds must be from 0 (all) to folds = {ensemble.folds}, not "
            f"{ensemble.trained_folds}"
        )
    if not 0 <= ensemble.held_out < 1:
        raise RecipeError(
            f"{where}: held_out is a share: 0 or more, below 1, not {ensemble.held_out}"
        )
    if ensemble.minutes < 0:
        raise RecipeError(f"{where}: minutes must not be negative, not {ensemble.minutes}")
    _check_results(ensemble, where)
    for member in ensemble.members:
        if not 0 < member.share <= _MAX_NUMBER:
            raise RecipeError(f"{where}, members: share must be above 0, not {member.share}")
        if not 1 <= member.seeds <= _MAX_COUNT:
            raise RecipeError(
                f"{where}, members: seeds must be from 1 to {_MAX_COUNT}, not {member.seeds}"
            )


def check_fits(ensemble: Ensemble, faces: int) -> None:
    """Refuse an ensemble that the number of training faces is too small for.

    Raises
    ------
    DataError
        There are more folds than faces.
    RecipeError
        A batch has more faces than the data set.
    """
    check_fold_count(ensemble.folds, faces)
    for member in ensemble.members:
        batch_size = member.recipe.batch_size
        # A small data set fills a batch of the usual size by repeating its faces.
        if batch_size > max(faces, _USUAL_BATCH):
            raise RecipeError(
                f"recipe {member.recipe.name}: batch_size = {batch_size} is more than the "
                f"{faces} training faces: choose at most {max(faces, _USUAL_BATCH)}"
            )


def check_fold_count(folds: int | None, faces: int) -> None:
    """Raise DataError if there are more folds than faces."""
    if folds is not None and folds > faces:
        raise DataError(
            f"{faces} training faces are too few for {folds} folds: ask for fewer with --folds"
        )


def splits_after_augmentation(recipe: Recipe) -> bool:
    """Say whether the recipe has what ``split = "after-augmentation"`` needs."""
    return bool(recipe.offline_augmentation and recipe.held_out)


def check_keys(values: Mapping[str, Any], kind: type, where: str) -> None:
    """Refuse keys that a dataclass does not have, and values of a wrong type.

    Parameters
    ----------
    values
        Contents of a file or of one of its tables.
    kind
        The dataclass; its field ``name`` is not a key of files.
    where
        What messages call the file or table.

    Raises
    ------
    RecipeError
        Names the key and the expected type.
    """
    types = get_type_hints(kind)
    for key, value in values.items():
        if key not in types or key in NOT_IN_FILES:
            known = [name for name in types if name not in NOT_IN_FILES]
            raise RecipeError(f"{where}: " + unknown_name("key", key, known))
        if (kind, key) == (EnsembleMember, "recipe"):
            continue
        origin = get_origin(types[key]) or types[key]
        text, accepted = _KINDS.get(origin, ("a table", dict))
        if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
            raise RecipeError(f"{where}: {key} must be {text}, not {_shorten(value)}")
        if isinstance(value, int | float) and not _is_usable_number(value):
            raise RecipeError(f"{where}: {key} must be {text}, not {_shorten(value)}")


def allowed_values() -> dict[str, tuple[str, ...]]:
    """Return the names that a key accepts, for the keys that accept only certain names."""
    return {
        "architecture": tuple(models.architecture_names()),
        "region": tuple(REGIONS),
        "loss": tuple(LOSSES),
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "annotator_outputs": ANNOTATOR_OUTPUTS,
        "rows": ROWS,
        "target_scale": tuple(TARGET_SCALES),
        "imputation": IMPUTATIONS,
        "split": SPLITS,
        "blend": BLENDS,
        "distribution": DISTRIBUTIONS,
        "published_metric": tuple(METRICS),
    }


def _check_names(recipe: Recipe, where: str) -> None:
    names = allowed_values()
    given = {key: getattr(recipe, key) for key in names if hasattr(recipe, key)}
    for key, value, known in (
        *((key, value, names[key]) for key, value in given.items()),
        ("distribution", recipe.augmentation.distribution, DISTRIBUTIONS),
        *(("published", metric, METRICS) for metric in recipe.published),
    ):
        if isinstance(value, str) and key in _PARAMETERS and user_code.is_reference(value):
            user_code.check_function(value, recipe.code, _PARAMETERS[key], where)
        elif value not in known:
            own = "; or FILE.py:FUNCTION" if key in _PARAMETERS else ""
            raise RecipeError(f"{where}: " + unknown_name(key, value, known) + own)


def _check_options(recipe: Recipe, where: str) -> None:
    """Refuse options that the architecture does not have, and values of a wrong type."""
    accepted = models.architecture_options(recipe.architecture, recipe.code)
    if recipe.target_scale != "auto" and "target_scale" not in accepted:
        raise RecipeError(
            f"{where}: target_scale is for architectures that regress coordinates directly, "
            f"which {recipe.architecture} is not: leave it out"
        )
    # target_scale is a key of the recipe, not of its table "options".
    known = [name for name in accepted if name != "target_scale"]
    for option, value in recipe.options.items():
        if option not in known:
            what = f"option of architecture {recipe.architecture}"
            raise RecipeError(f"{where}: " + unknown_name(what, option, known))
        text, kind = _OPTION_KINDS.get(accepted[option], ("", object))
        elements = value if accepted[option].startswith("Sequence") else [value]
        if not isinstance(elements, list | tuple) or not all(
            isinstance(element, kind) and isinstance(element, bool) <= (kind in (bool, object))
            for element in elements
        ):
            raise RecipeError(f"{where}: options.{option} must be {text}, not {_shorten(value)}")
        for element in elements:
            if isinstance(element, int | float) and not abs(element) <= _LARGEST_OPTION:
                raise RecipeError(
                    f"{where}: options.{option} must be at most {_LARGEST_OPTION:,}, not "
                    f"{_shorten(value)}"
                )


def _check_ranges(recipe: Recipe, where: str) -> None:
    for key, largest in _LARGEST.items():
        if getattr(recipe, key) > largest:
            raise RecipeError(
                f"{where}: {key} must be at most {largest:,}, not {getattr(recipe, key):.6g}"
            )
    for key in _POSITIVE:
        if getattr(recipe, key) <= 0:
            raise RecipeError(f"{where}: {key} must be above 0, not {getattr(recipe, key)}")
    for key in _NOT_NEGATIVE:
        if getattr(recipe, key) < 0:
            raise RecipeError(f"{where}: {key} must not be negative")
    for key in ("held_out", "validation"):
        if not 0 <= getattr(recipe, key) < 1:
            raise RecipeError(f"{where}: {key} is a share of the faces: 0 or more, below 1")


def _check_patience(recipe: Recipe, where: str) -> None:
    """Refuse early stopping with a schedule that keeps the last weights."""
    if recipe.patience and recipe.schedule == "cosine":
        raise RecipeError(
            f"{where}: patience = {recipe.patience} has no effect with schedule = 'cosine': leave "
            "it out, or choose schedule = 'plateau' or 'constant'"
        )


def _check_augmentation(recipe: Recipe, where: str) -> None:
    augmentation = recipe.augmentation
    for part in fields(augmentation):
        value = getattr(augmentation, part.name)
        if not isinstance(value, str) and value < 0:
            raise RecipeError(f"{where}: augmentation.{part.name} must not be negative")
        if not isinstance(value, str) and value > _LARGEST_OPTION:
            raise RecipeError(f"{where}: augmentation.{part.name} must be at most 1,000,000")
    if max(getattr(augmentation, key) for key in _PROBABILITIES) > 1:
        raise RecipeError(
            f"{where}: augmentation.{', '.join(_PROBABILITIES)} are probabilities: at most 1"
        )
    if max(getattr(augmentation, key) for key in _BELOW_ONE) >= 1:
        raise RecipeError(
            f"{where}: augmentation.{' and '.join(_BELOW_ONE)} must be below 1: 0.2 is ×0.8 to ×1.2"
        )


def _check_results(item: Recipe | Ensemble, where: str) -> None:
    """Refuse published and reached results that are no finite numbers."""
    published = item.published if isinstance(item, Recipe) else {}
    results = {f"published.{key}": value for key, value in published.items()}
    for key in _REACHED_NUMBERS:
        if key in item.reached:
            results[f"reached.{key}"] = item.reached[key]
    for key, value in results.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not _is_usable_number(value):
            raise RecipeError(f"{where}: {key} must be a number, not {_shorten(value)}")


def _is_usable_number(value: float) -> bool:
    """Say whether a number is finite and below 1e18, so that it fits the types of arrays."""
    return (
        math.isfinite(value) and abs(value) < 1e18
        if isinstance(value, float)
        else (abs(value) < 10**18)
    )


def _shorten(value: object) -> str:
    """Return a value as text of at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of more than 4,300 digits; deep nesting
        return "a value that is too long to show"
    return text if len(text) <= 60 else text[:59] + "…"

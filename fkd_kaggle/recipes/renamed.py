"""Old keys and values of recipes, and the ones that replaced them.

Recipe files, ``NAME:key=value``, ``run.json`` and the records and tasks of kernels may contain the
names of version 0.1.0. ``to_new`` functions translate what is read, and ``to_old`` functions
restore the old names for digests: the digest of a recipe or of a kernel job is computed over the
old names and therefore did not change with them. All functions take and return plain JSON-like
values, do not change their arguments, accept a mixture of old and new names, and ignore keys that
they do not know.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fkd_kaggle.errors import RecipeError, RenamedWarning

RECIPE_KEYS: Final = {
    "source": "publication",
    "source_outputs": "annotator_outputs",
    "missing": "imputation",
    "enlarge": "offline_augmentation",
    "own_metric": "published_metric",
}
"""Old key of a recipe → new key."""

REMOVED_KEYS: Final = ("parameters",)
"""Keys of a recipe that no longer exist and never affected training."""

AUGMENTATION_KEYS: Final = {
    "far": "zoom_out",
    "shade": "lighting_gradient",
    "erase": "random_erasing",
}
"""Old key of a recipe's table ``augmentation`` → new key."""

ENSEMBLE_KEYS: Final = {"source": "publication"}
"""Old key of an ensemble → new key."""

ADDED_RECIPE_KEYS: Final[Mapping[str, Any]] = {
    "outlier_deviations": 0.0,
    "extended_epochs": 0,
    "code": {},
}
"""Keys of a recipe that version 0.1.0 did not have, with the value that changes nothing. Digests
leave out a key with this value."""

VALUES: Final = {
    "architecture": {"ladder": "plain-cnn"},
    "split": {"enlarged-first": "after-augmentation"},
}
"""Old value → new value, by the key (of a recipe or an ensemble) that has it."""

Values = Mapping[str, Any]


def recipe_to_new(values: Values) -> dict[str, Any]:
    """Return the keys and values of a recipe, its augmentation included, under new names.

    Keys that no longer exist are left out.
    """
    translated = _translate_recipe(values, RECIPE_KEYS, AUGMENTATION_KEYS, VALUES)
    return {key: value for key, value in translated.items() if key not in REMOVED_KEYS}


def recipe_to_old(values: Values) -> dict[str, Any]:
    """Return the keys and values of a recipe, its augmentation included, under old names.

    Keys of ``ADDED_RECIPE_KEYS`` that change nothing are left out.
    """
    known = {
        key: value
        for key, value in values.items()
        if key not in ADDED_RECIPE_KEYS or value != ADDED_RECIPE_KEYS[key]
    }
    return _translate_recipe(known, _inverse(RECIPE_KEYS), _inverse(AUGMENTATION_KEYS), _OLD_VALUES)


def ensemble_to_new(values: Values) -> dict[str, Any]:
    """Return the keys and values of an ensemble under new names; its members are not changed."""
    return _translate(values, ENSEMBLE_KEYS, VALUES)


def ensemble_to_old(values: Values) -> dict[str, Any]:
    """Return the keys and values of an ensemble under old names; its members are not changed."""
    return _translate(values, _inverse(ENSEMBLE_KEYS), _OLD_VALUES)


def plan_to_new(values: Values) -> dict[str, Any]:
    """Return ``Plan.to_dict()`` of any version under new names, members and recipes included."""
    return _translate_plan(values, ensemble_to_new, recipe_to_new)


def plan_to_old(values: Values) -> dict[str, Any]:
    """Return ``Plan.to_dict()`` under the names of version 0.1.0, for digests of kernel jobs."""
    return _translate_plan(values, ensemble_to_old, recipe_to_old)


def path_to_new(path: Sequence[str]) -> list[str]:
    """Return the new name of a dotted key of a recipe, given and returned as its parts."""
    first, *rest = path
    if first == "augmentation" and rest:
        return [first, AUGMENTATION_KEYS.get(rest[0], rest[0]), *rest[1:]]
    return [RECIPE_KEYS.get(first, first), *rest]


def warn_of_old_names(values: Values, where: str, *, ensemble: bool = False) -> None:
    """Issue one ``RenamedWarning`` where something that a user wrote has old names.

    Parameters
    ----------
    values
        Contents of a recipe or ensemble file, or the changes of ``NAME:key=value``.
    where
        What the message calls the file or the recipe.
    ensemble
        Whether these are keys of an ensemble.

    Raises
    ------
    RecipeError
        A key is given under its old and under its new name.
    """
    keys = ENSEMBLE_KEYS if ensemble else RECIPE_KEYS
    renames = _renames(values, keys, where)
    augmentation = values.get("augmentation")
    if isinstance(augmentation, Mapping):
        renames += _renames(augmentation, AUGMENTATION_KEYS, f"{where}, [augmentation]")
    for key, names in VALUES.items():
        value = values.get(key)
        if isinstance(value, str) and value in names:
            renames.append(f"{key} {value!r} is now {names[value]!r}")
    if renames:
        warnings.warn(
            f"{where}: old names still work: {', '.join(renames)}", RenamedWarning, stacklevel=2
        )


def _renames(values: Values, keys: Mapping[str, str], where: str) -> list[str]:
    """Return a phrase for each old key; refuse keys given under both names."""
    for old, new in keys.items():
        if old in values and new in values:
            raise RecipeError(f"{where}: {old} is the old name of {new}: give {new} only")
    return [f"{old} is now {new}" for old, new in keys.items() if old in values]


def _translate_recipe(
    values: Values,
    keys: Mapping[str, str],
    augmentation_keys: Mapping[str, str],
    names: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    translated = _translate(values, keys, names)
    if isinstance(augmentation := translated.get("augmentation"), Mapping):
        translated["augmentation"] = _translate(augmentation, augmentation_keys, {})
    return translated


def _translate_plan(
    values: Values,
    translate_ensemble: Callable[[Values], dict[str, Any]],
    translate_recipe: Callable[[Values], dict[str, Any]],
) -> dict[str, Any]:
    ensemble = translate_ensemble(values["ensemble"])
    ensemble["members"] = [
        {**line, "recipe": translate_recipe(line["recipe"])} for line in ensemble["members"]
    ]
    return {**values, "ensemble": ensemble}


def _translate(
    values: Values, keys: Mapping[str, str], names: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    return {
        keys.get(key, key): names[key].get(value, value)
        if key in names and isinstance(value, str)
        else value
        for key, value in values.items()
    }


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


_OLD_VALUES: Final = {key: _inverse(names) for key, names in VALUES.items()}

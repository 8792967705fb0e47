"""Reading and writing of recipe files, shipped ones by name and a user's own by path."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.formatting import file_stem
from fkd_kaggle.recipes import renamed
from fkd_kaggle.recipes.schema import (
    AUGMENTATIONS,
    BLENDS,
    Augmentation,
    Ensemble,
    EnsembleMember,
    OfflineCopy,
    Recipe,
)
from fkd_kaggle.recipes.validation import check_keys, check_recipe

_RECIPES_PACKAGE = "fkd_kaggle.recipes"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes and ensembles, sorted."""
    folder = resources.files(_RECIPES_PACKAGE)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe | Ensemble:
    """Load a shipped recipe or ensemble by name, or a user's own by the path of its file.

    Old keys and values are accepted with a ``RenamedWarning`` (see ``recipes.renamed``).

    Parameters
    ----------
    name
        A name of ``recipe_names()`` or the path of a .toml file. Either may be followed by changes:
        ``farhat:imputation=knn,augmentation.flip=0`` is farhat with two keys changed, under the
        name farhat-imputation-knn-augmentation.flip-0.

    Raises
    ------
    RecipeError
        No such name or file, or a wrong key, an unknown name or a value out of range.
    """
    found = re.fullmatch(r"(.+?\.toml|[^:]+)(?::(.*))?", name, re.DOTALL)
    stem, changes = (found[1], found[2]) if found else (name, None)
    content, title, where = _file(stem)
    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from None
    is_ensemble = "members" in values
    renamed.warn_of_old_names(values, where, ensemble=is_ensemble)
    to_new = renamed.ensemble_to_new if is_ensemble else renamed.recipe_to_new
    values = to_new(values)
    if changes is not None:
        where = f"recipe {name}"
        values = to_new(_with_changes(values, changes, where, is_ensemble))
        for measured in ("parameters", "reached"):
            values.pop(measured, None)  # measured with the unchanged recipe
        # Not formatting.file_stem, which joins hyphens: names of members must not change.
        title = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{title}-{changes}").strip("-")
    return _ensemble(values, title, where) if is_ensemble else _recipe(values, title, where)


def recipe_text(name: str) -> str:
    """Return the text of the file of a recipe or ensemble.

    ``name`` is a name of ``recipe_names()`` or the path of a .toml file, without changes.

    Raises
    ------
    RecipeError
        No such name or file.
    """
    return _file(name)[0]


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as the text of a file that ``load_recipe`` reads; the name is left out."""
    values = {key: value for key, value in asdict(recipe).items() if key != "name"}
    return tomli_w.dumps(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of which ``values`` are ``asdict``, also as version 0.1.0 wrote them."""
    values = renamed.recipe_to_new(values)
    augmentation = Augmentation(**values.get("augmentation", {}))
    copies = tuple(OfflineCopy(**copy) for copy in values.get("offline_augmentation", ()))
    return Recipe(**{**values, "augmentation": augmentation, "offline_augmentation": copies})


def _file(name: str) -> tuple[str, str, str]:
    """Return the text of a file, the name of its recipe, and what messages call the file."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"recipe file {name} does not exist")
        try:
            return path.read_text(encoding="utf-8"), path.stem, name
        except UnicodeDecodeError:
            raise RecipeError(f"{name} is not valid TOML: it is not UTF-8 text") from None
    if name not in recipe_names():
        raise RecipeError(
            unknown_name("recipe", name, recipe_names()) + "; or give the path of a .toml file"
        )
    shipped = resources.files(_RECIPES_PACKAGE) / f"{name}.toml"
    return shipped.read_text(encoding="utf-8"), name, f"recipe {name}"


def _with_changes(
    values: Mapping[str, Any], changes: str, where: str, is_ensemble: bool
) -> dict[str, Any]:
    """Return a file's values with the changes ``key=value,table.key=value``.

    A value is TOML, or text where it is not valid TOML.
    """
    changed, written = dict(values), dict[str, Any]()
    for change in _split_at_commas(changes):
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{where}: {change!r} should be KEY=VALUE, as in epochs=20")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        path = key.strip().split(".")
        _set(written, path, value, where)
        _set(changed, path if is_ensemble else renamed.path_to_new(path), value, where)
    renamed.warn_of_old_names(written, where, ensemble=is_ensemble)
    return changed


def _split_at_commas(text: str) -> list[str]:
    """Split at commas outside of brackets, braces and quotation marks."""
    parts, depth, quote, start = [], 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _set(values: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    """Set a key of a nested table; tables on the way are copied, and created where absent."""
    *tables, last = path
    for table in tables:
        inner = values.get(table, {})
        if table == "augmentation" and isinstance(inner, str):
            inner = {"set": inner}
        if not isinstance(inner, dict):
            raise RecipeError(f"{where}: {table} is not a table: {'.'.join(path)} cannot be set")
        values[table] = dict(inner)
        values = values[table]
    values[last] = value


def _recipe(values: dict[str, Any], name: str, where: str) -> Recipe:
    if "augmentation" in values:
        values["augmentation"] = _augmentation(values["augmentation"], where)
    check_keys(values, Recipe, where)
    for copy in values.get("offline_augmentation", ()):
        if not isinstance(copy, dict):
            raise RecipeError(
                f"{where}: each of offline_augmentation must look like {{rotation = 12.0}}"
            )
        check_keys(copy, OfflineCopy, f"{where}, offline_augmentation")
    recipe = recipe_from_dict({"name": name, **values})
    check_recipe(recipe, where)
    return recipe


def _augmentation(given: Any, where: str) -> dict[str, Any]:
    """Return all fields of an augmentation: those of a named set, with changes."""
    where = f"{where}, [augmentation]"
    changes = {"set": given} if isinstance(given, str) else given
    if not isinstance(changes, dict):
        raise RecipeError(f"{where}: augmentation must be a table or the name of a set")
    changes = dict(changes)
    name = changes.pop("set", "standard")
    if name not in AUGMENTATIONS:
        raise RecipeError(f"{where}: " + unknown_name("set", str(name), AUGMENTATIONS))
    check_keys(changes, Augmentation, where)
    return {**asdict(AUGMENTATIONS[name]), **changes}


def _ensemble(values: dict[str, Any], name: str, where: str) -> Ensemble:
    check_keys(values, Ensemble, where)
    members = tuple(_ensemble_member(line, where) for line in values["members"])
    if not members:
        raise RecipeError(f"{where}: members is empty")
    if (blend := values.get("blend", "simplex")) not in BLENDS:
        raise RecipeError(f"{where}: " + unknown_name("blend", blend, BLENDS))
    return Ensemble(**{"name": name, **values, "members": members})


def _ensemble_member(line: Any, where: str) -> EnsembleMember:
    """Return a member of an ensemble file; its key ``name`` gives the recipe another name."""
    if not isinstance(line, dict) or not isinstance(line.get("recipe"), str):
        raise RecipeError(f'{where}: each of members must look like {{recipe = "heatmap"}}')
    settings = {key: value for key, value in line.items() if key != "name"}
    check_keys(settings, EnsembleMember, f"{where}, members")
    recipe = load_recipe(line["recipe"])
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{where}: member {line['recipe']!r} is itself an ensemble")
    if (name := line.get("name")) is not None:
        if not isinstance(name, str) or not name or file_stem(name) != name:
            raise RecipeError(
                f"{where}, members: name must consist of letters, digits and ._+-, not {name!r}"
            )
        recipe = replace(recipe, name=name)
    return EnsembleMember(**{**settings, "recipe": recipe})

"""Reading and writing of recipe files, shipped ones by name and a user's own by path."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from fkd_kaggle import models, user_code
from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.formatting import file_stem
from fkd_kaggle.recipes import renamed
from fkd_kaggle.recipes.schema import (
    AUGMENTATIONS,
    BLENDS,
    NOT_IN_FILES,
    Augmentation,
    Ensemble,
    EnsembleMember,
    OfflineCopy,
    Recipe,
)
from fkd_kaggle.recipes.validation import check_ensemble_settings, check_keys, check_recipe

_RECIPES_PACKAGE = "fkd_kaggle.recipes"

_MAX_BYTES = 1 << 20
"""Largest recipe file."""

_MAX_DEPTH = 12
"""Deepest nesting of tables and lists; recipes need four levels."""

_MAX_NAME = 150
"""Longest name of a recipe in bytes. File systems allow 255, and names get additions."""

_NESTED = "tables and lists are nested too deeply"

_RECIPE_KEYS = [item.name for item in fields(Recipe) if item.name not in NOT_IN_FILES]
"""Keys of a recipe file."""

_CODE_KEYS = ("architecture", "loss", "imputation", "published_metric")
"""Keys of a recipe that can name a function of the user's own."""


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes and ensembles, sorted."""
    folder = resources.files(_RECIPES_PACKAGE)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe | Ensemble:
    """Load a shipped recipe or ensemble by name, or a user's own by the path of its file.

    Old keys and values are accepted with a ``RenamedWarning`` (see ``recipes.renamed``). Python
    files that the recipe names are read, and trusted from now on (``user_code``); paths in a recipe
    file start from its folder, paths in changes from the current folder.

    Parameters
    ----------
    name
        A name of ``recipe_names()`` or the path of a .toml file. Either may be followed by changes:
        ``farhat:imputation=knn,augmentation.flip=0`` is farhat with two keys changed, under the
        name farhat-imputation-knn-augmentation.flip-0. Options of the architecture need no table:
        ``cascade:width=24`` is ``cascade:options.width=24``.

    Raises
    ------
    RecipeError
        No such name or file, or a wrong key, an unknown name or a value out of range.
    """
    return _load(name, is_member=False)


def limit_length(name: str) -> str:
    """Return a name short enough for file names; a digest replaces the end of a long name."""
    if len(name.encode("utf-8", "surrogateescape")) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name[: _MAX_NAME // 2]}-{digest}"


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
    values = {key: value for key, value in asdict(recipe).items() if key not in NOT_IN_FILES}
    return tomli_w.dumps(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of which ``values`` are ``asdict``, also as version 0.1.0 wrote them."""
    values = dict(renamed.recipe_to_new(values))
    if isinstance(values.get("learning_rate"), int):
        # Keras takes no whole number here. Other keys stay as they are, as digests depend on them.
        values["learning_rate"] = float(values["learning_rate"])
    augmentation = Augmentation(**values.get("augmentation", {}))
    copies = tuple(OfflineCopy(**copy) for copy in values.get("offline_augmentation", ()))
    return Recipe(**{**values, "augmentation": augmentation, "offline_augmentation": copies})


def _load(name: str, *, is_member: bool) -> Recipe | Ensemble:
    """Load a recipe, or an ensemble that is not a member of another one (nor of itself)."""
    found = re.fullmatch(r"(.+?\.toml|[^:]+)(?::(.*))?", name, re.DOTALL)
    stem, changes = (found[1], found[2]) if found else (name, None)
    content, title, where = _file(stem)
    values = _parse(content, where)
    is_ensemble = "members" in values
    if is_ensemble and is_member:
        raise RecipeError(f"member {name!r} is itself an ensemble")
    renamed.warn_of_old_names(values, where, ensemble=is_ensemble)
    to_new = renamed.ensemble_to_new if is_ensemble else renamed.recipe_to_new
    values = _with_weights_path(to_new(values), _folder(stem))
    if changes is not None:
        where = f"recipe {' '.join(name.split())}"
        values = to_new(_with_changes(values, changes, where, is_ensemble, _folder(stem)))
        values = _with_weights_path(values, Path())
        values.pop("reached", None)  # measured with the unchanged recipe
        # Not formatting.file_stem, which joins hyphens: names of members must not change.
        title = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{title}-{changes}").strip("-")
    title = limit_length(title)
    if is_ensemble:
        return _ensemble(values, title, where, _folder(stem))
    return _recipe(_with_code(values, _folder(stem), where), title, where)


def _parse(content: str, where: str) -> dict[str, Any]:
    """Return the values of a TOML text."""
    try:
        values = tomllib.loads(content)
    except RecursionError:
        raise RecipeError(f"{where}: {_NESTED}") from None
    except ValueError as error:  # also for integers of more than 4,300 digits
        raise RecipeError(f"{where} is not valid TOML: {error}") from None
    level: list[Any] = [values]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise RecipeError(f"{where}: {_NESTED}")
    return values


def _file(name: str) -> tuple[str, str, str]:
    """Return the text of a file, the name of its recipe, and what messages call the file."""
    if name.endswith(".toml"):
        path = Path(name)
        try:
            if not path.is_file():
                what = "is a folder" if path.is_dir() else "does not exist"
                raise RecipeError(f"recipe file {name} {what}")
            if path.stat().st_size > _MAX_BYTES:
                raise RecipeError(f"{name} is no recipe: it is larger than {_MAX_BYTES >> 10} kB")
            return path.read_text(encoding="utf-8-sig"), path.stem, name
        except UnicodeError:
            raise RecipeError(f"{name} is not valid TOML: it is not UTF-8 text") from None
        except OSError as error:
            raise RecipeError(f"cannot read the recipe {name}: {error.strerror}") from None
        except ValueError as error:  # a path with a NUL
            raise RecipeError(f"cannot read the recipe {name!r}: {error}") from None
    if name not in recipe_names():
        raise RecipeError(
            f"{unknown_name('recipe', name, recipe_names())} (or give the path of a .toml file)"
        )
    shipped = resources.files(_RECIPES_PACKAGE) / f"{name}.toml"
    return shipped.read_text(encoding="utf-8"), name, f"recipe {name}"


def _folder(name: str) -> Path:
    """Return the folder that paths in a recipe start from."""
    return Path(name).parent if name.endswith(".toml") else Path()


def _with_code(values: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """Read the Python files that a recipe names; references keep the file's name only."""
    sources = dict[str, str]()

    def read(name: Any) -> Any:
        if not isinstance(name, str) or not user_code.is_reference(name):
            return name
        reference, file, text = user_code.read_source(name, folder, where)
        sources.update(user_code.merge([sources, {file: text}], where))
        return reference

    if "code" in values:
        raise RecipeError(f"{where}: " + unknown_name("key", "code", _RECIPE_KEYS))
    values = dict(values)
    for key in _CODE_KEYS:
        if key in values:
            values[key] = read(values[key])
    if isinstance(published := values.get("published"), dict):
        values["published"] = {read(metric): value for metric, value in published.items()}
    if sources:
        user_code.trust(sources, remember=True)
        values["code"] = sources
    return values


def _with_weights_path(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the path of the first weights of ``transfer`` absolute, if the recipe names a file."""
    options = values.get("options")
    if values.get("architecture") != "transfer" or not isinstance(options, dict):
        return values
    weights = options.get("weights")
    if not isinstance(weights, str) or weights in models.NAMED_WEIGHTS:
        return values
    path = str((folder / weights).absolute())
    return {**values, "options": {**options, "weights": path}}


def _options(values: Mapping[str, Any]) -> Collection[str]:
    """Return the names of the options of a recipe's architecture; none if it is unknown."""
    architecture = values.get("architecture", Recipe.architecture)
    if not isinstance(architecture, str):
        return ()
    known = user_code.is_reference(architecture) or architecture in models.architecture_names()
    return models.architecture_options(architecture, values.get("code", {})) if known else ()


def _with_changes(
    values: Mapping[str, Any], changes: str, where: str, is_ensemble: bool, folder: Path
) -> dict[str, Any]:
    """Return a file's values with the changes ``key=value,table.key=value``.

    A value is TOML, or text where it is not valid TOML. An option of the architecture may be given
    without its table.
    """
    changed, written = dict(values), dict[str, Any]()
    bare = []
    for change in _split_at_commas(changes):
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{where}: {change!r} should be KEY=VALUE, as in epochs=20")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        if isinstance(value, str) and user_code.is_reference(value):
            value = str(Path.cwd() / value)
        path = key.strip().split(".")
        _set(written, path, value, where)
        path = path if is_ensemble else renamed.path_to_new(path)
        if not is_ensemble and len(path) == 1 and path[0] not in _RECIPE_KEYS:
            bare.append((path[0], value))
        else:
            _set(changed, path, value, where)
    if "epochs" in written and "extended_epochs" not in written:
        changed.pop("extended_epochs", None)  # a number that the user gives is not extended
    # After all other changes, which may name another architecture.
    options = _options(_with_code(changed, folder, where)) if bare else ()
    for key, value in bare:
        if key not in options:
            known = [*_RECIPE_KEYS, *options]
            raise RecipeError(f"{where}: " + unknown_name("key", key, known))
        _set(changed, ["options", key], value, where)
    renamed.warn_of_old_names(written, where, ensemble=is_ensemble)
    return changed


def _split_at_commas(text: str) -> list[str]:
    """Split at commas outside of brackets, braces and quotation marks.

    Outside of brackets, only a quotation mark directly behind ``=`` begins a quotation.
    """
    parts, depth, quote, start = [], 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and (depth or text[:position].rstrip().endswith("=")):
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
    code = values.pop("code", {})
    architecture = values.get("architecture", Recipe.architecture)
    for key in values:
        if key not in _RECIPE_KEYS and key in _options({**values, "code": code}):
            raise RecipeError(
                f"{where}: {key} is an option of the architecture {architecture}: "
                "write it below a line [options]"
            )
    check_keys(values, Recipe, where)
    for copy in values.get("offline_augmentation", ()):
        if not isinstance(copy, dict):
            raise RecipeError(
                f"{where}: each of offline_augmentation must look like {{rotation = 12.0}}"
            )
        check_keys(copy, OfflineCopy, f"{where}, offline_augmentation")
    recipe = recipe_from_dict({"name": name, **values, "code": code})
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


def _ensemble(values: dict[str, Any], name: str, where: str, folder: Path) -> Ensemble:
    check_keys(values, Ensemble, where)
    members = tuple(_ensemble_member(line, where, folder) for line in values["members"])
    if not members:
        raise RecipeError(f"{where}: members is empty")
    if (blend := values.get("blend", "simplex")) not in BLENDS:
        raise RecipeError(f"{where}: " + unknown_name("blend", blend, BLENDS))
    ensemble = Ensemble(**{"name": name, **values, "members": members})
    check_ensemble_settings(ensemble, where)
    return ensemble


def _ensemble_member(line: Any, where: str, folder: Path) -> EnsembleMember:
    """Return a member of an ensemble file; its key ``name`` gives the recipe another name.

    The path of a recipe file starts from ``folder``, that of the ensemble file.
    """
    if not isinstance(line, dict) or not isinstance(line.get("recipe"), str):
        raise RecipeError(f'{where}: each of members must look like {{recipe = "heatmap"}}')
    settings = {key: value for key, value in line.items() if key != "name"}
    check_keys(settings, EnsembleMember, f"{where}, members")
    try:
        path = line["recipe"]
        is_file = re.match(r".+?\.toml(:|$)", path, re.DOTALL)
        recipe = _load(str(folder / path) if is_file else path, is_member=True)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    assert isinstance(recipe, Recipe)
    if (name := line.get("name")) is not None:
        if not isinstance(name, str) or not name or file_stem(name) != name:
            raise RecipeError(
                f"{where}, members: name must consist of letters, digits and ._+-, not {name!r}"
            )
        recipe = replace(recipe, name=name)
    return EnsembleMember(**{**settings, "recipe": recipe})

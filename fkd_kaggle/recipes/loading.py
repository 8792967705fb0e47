"""Reading and writing recipe files, checked at the door: wrong keys, unknown names, bad values."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import tomli_w

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.keypoints import REGIONS, TARGET_SCALES
from fkd_kaggle.recipes import renamed
from fkd_kaggle.recipes.schema import (
    AUGMENTATIONS,
    BLENDS,
    DISTRIBUTIONS,
    LOSSES,
    MISSING,
    OPTIMIZERS,
    ROWS,
    SCHEDULES,
    SOURCE_OUTPUTS,
    SPLITS,
    Augmentation,
    Ensemble,
    EnsembleMember,
    OfflineCopy,
    Recipe,
)

_RECIPES_PACKAGE = "fkd_kaggle.recipes"

_ABOVE_ZERO = ("epochs", "batch_size", "learning_rate", "loss_width")

_AT_LEAST_ZERO = ("weight_decay", "clip_norm", "patience", "heatmap_loss", "parameters")


def recipe_names() -> list[str]:
    """Return the shipped networks and ensembles."""
    folder = resources.files(_RECIPES_PACKAGE)
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe | Ensemble:
    """Read a shipped recipe or ensemble by name, or a user's own by the path of its file.

    Either may be varied in place: ``farhat:missing=knn,augmentation.flip=0`` is farhat with these
    keys changed, under the name farhat-missing-knn-augmentation.flip-0.

    Raises
    ------
    RecipeError
        No such name or file, or the file has a wrong key, an unknown name or an impossible value.
    """
    found = re.fullmatch(r"(.+?\.toml|[^:]+)(?::(.*))?", name, re.DOTALL)
    stem, changes = (found[1], found[2]) if found else (name, None)
    content, title, where = _file(stem)
    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not valid TOML: {error}") from None
    if changes is not None:
        where = f"recipe {name}"
        _apply_changes(values, changes, where)
        for counted in ("parameters", "reached"):
            values.pop(counted, None)  # of the recipe as it is on the shelf
        title = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{title}-{changes}").strip("-")
    return _ensemble(values, title, where) if "members" in values else _recipe(values, title, where)


def recipe_text(name: str) -> str:
    """Return the text of a recipe's or ensemble's file, as it stands there.

    Raises
    ------
    RecipeError
        No such name or file.
    """
    return _file(name)[0]


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as the text of a file that ``load`` reads back."""
    values = {key: value for key, value in asdict(recipe).items() if key != "name"}
    return tomli_w.dumps(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe that ``asdict`` took apart."""
    augmentation = Augmentation(**values.get("augmentation", {}))
    copies = tuple(OfflineCopy(**copy) for copy in values.get("enlarge", ()))
    changes: dict[str, Any] = {"augmentation": augmentation, "enlarge": copies}
    if (old := values.get("architecture")) in renamed.ARCHITECTURES:
        changes["architecture"] = renamed.ARCHITECTURES[old]
    return Recipe(**{**values, **changes})


def check_recipe(recipe: Recipe, where: str) -> None:
    """Refuse unknown names and impossible values; ``where`` says whose they are.

    Raises
    ------
    RecipeError
        Names the key and what it may be.
    """
    from fkd_kaggle import models
    from fkd_kaggle.data import metrics

    for what, value, known in (
        ("architecture", recipe.architecture, models.architecture_names()),
        ("region", recipe.region, REGIONS),
        ("loss", recipe.loss, LOSSES),
        ("optimizer", recipe.optimizer, OPTIMIZERS),
        ("schedule", recipe.schedule, SCHEDULES),
        ("source_outputs", recipe.source_outputs, SOURCE_OUTPUTS),
        ("rows", recipe.rows, ROWS),
        ("target_scale", recipe.target_scale, TARGET_SCALES),
        ("missing", recipe.missing, MISSING),
        ("split", recipe.split, SPLITS),
        ("distribution", recipe.augmentation.distribution, DISTRIBUTIONS),
        *(("metric", metric, metrics.METRICS) for metric in recipe.metrics),
    ):
        if value not in known:
            raise RecipeError(f"{where}: " + unknown_name(what, value, known))
    _check_options(recipe, models.architecture_options(recipe.architecture), where)
    for key in _ABOVE_ZERO:
        if getattr(recipe, key) <= 0:
            raise RecipeError(f"{where}: {key} must be above 0, not {getattr(recipe, key)}")
    for key in _AT_LEAST_ZERO:
        if getattr(recipe, key) < 0:
            raise RecipeError(f"{where}: {key} must not be negative")
    for key in ("held_out", "validation"):
        if not 0 <= getattr(recipe, key) < 1:
            raise RecipeError(f"{where}: {key} is a share of the faces: 0 or more, below 1")
    for strength in fields(recipe.augmentation):
        value = getattr(recipe.augmentation, strength.name)
        if not isinstance(value, str) and value < 0:
            raise RecipeError(f"{where}: augmentation.{strength.name} must not be negative")
    views = recipe.augmentation
    if max(views.flip, views.erase, views.far, views.blur) > 1:
        raise RecipeError(
            f"{where}: augmentation.flip, erase, far, blur are probabilities: at most 1"
        )
    if max(views.gain, views.shade) >= 1:
        raise RecipeError(
            f"{where}: augmentation.gain and shade must be below 1: 0.2 is ×0.8 to ×1.2"
        )
    for copy in recipe.enlarge:
        if copy.gain <= 0 or copy.noise < 0:
            raise RecipeError(f"{where}: enlarge: gain must be above 0 and noise not negative")
    if recipe.split == "enlarged-first" and not (recipe.enlarge and recipe.held_out):
        raise RecipeError(f"{where}: split = 'enlarged-first' needs enlarge and held_out")


def _file(name: str) -> tuple[str, str, str]:
    """Return a file's text, its recipe's name, and what messages call it."""
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


def _check_options(recipe: Recipe, accepted: Mapping[str, str], where: str) -> None:
    """Refuse options the architecture lacks, and values of another type than it has."""
    if recipe.target_scale != "auto" and "target_scale" not in accepted:
        raise RecipeError(
            f"{where}: target_scale is for architectures that regress coordinates directly, "
            f"which {recipe.architecture} is not: leave it out"
        )
    known = [name for name in accepted if name != "target_scale"]  # a key of the recipe itself
    for option, value in recipe.options.items():
        if option not in known:
            what = f"option of architecture {recipe.architecture}"
            raise RecipeError(f"{where}: " + unknown_name(what, option, known))
        text, kind = _MEANT_BY_OPTION.get(accepted[option], ("", object))
        wanted = value if accepted[option].startswith("Sequence") else [value]
        if not isinstance(wanted, list | tuple) or not all(
            isinstance(one, kind) and isinstance(one, bool) <= (kind in (bool, object))
            for one in wanted
        ):
            raise RecipeError(f"{where}: options.{option} must be {text}, not {value!r}")


def _apply_changes(values: dict[str, Any], changes: str, where: str) -> None:
    """Put ``key=value,table.key=value`` into a file's values; a value is TOML, or plain text."""
    for change in re.split(r",(?![^\[\]{}]*[\]}])", changes):
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{where}: {change!r} should be KEY=VALUE, as in epochs=20")
        *tables, last = key.strip().split(".")
        place = values
        for table in tables:
            if table == "augmentation" and isinstance(place.get(table), str):
                place[table] = {"set": place[table]}
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{where}: {table} is not a table: {key} cannot be set")
        try:
            place[last] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            place[last] = text.strip()


def _recipe(values: dict[str, Any], name: str, where: str) -> Recipe:
    if "augmentation" in values:
        values["augmentation"] = _augmentation(values["augmentation"], where)
    _check_keys(values, Recipe, where)
    for copy in values.get("enlarge", ()):
        if not isinstance(copy, dict):
            raise RecipeError(f"{where}: each of enlarge must look like {{rotation = 12.0}}")
        _check_keys(copy, OfflineCopy, f"{where}, enlarge")
    recipe = recipe_from_dict({"name": name, **values})
    check_recipe(recipe, where)
    return recipe


def _augmentation(given: Any, where: str) -> dict[str, Any]:
    """Return the fields of an augmentation: a set's by name, or a set's with changes."""
    where = f"{where}, [augmentation]"
    changes = {"set": given} if isinstance(given, str) else given
    if not isinstance(changes, dict):
        raise RecipeError(f"{where}: augmentation must be a table or the name of a set")
    changes = dict(changes)
    name = changes.pop("set", "standard")
    if name not in AUGMENTATIONS:
        raise RecipeError(f"{where}: " + unknown_name("set", str(name), AUGMENTATIONS))
    _check_keys(changes, Augmentation, where)
    return {**asdict(AUGMENTATIONS[name]), **changes}


def _ensemble(values: dict[str, Any], name: str, where: str) -> Ensemble:
    _check_keys(values, Ensemble, where)
    lines = []
    for line in values["members"]:
        if not isinstance(line, dict) or not isinstance(line.get("recipe"), str):
            raise RecipeError(f'{where}: each of members must look like {{recipe = "heatmap"}}')
        _check_keys(line, EnsembleMember, f"{where}, members")
        recipe = load_recipe(line["recipe"])
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{where}: member {line['recipe']!r} is itself an ensemble")
        lines.append(EnsembleMember(**{**line, "recipe": recipe}))
    if not lines:
        raise RecipeError(f"{where}: members is empty")
    if (chosen := values.get("blend", "simplex")) not in BLENDS:
        raise RecipeError(f"{where}: " + unknown_name("blend", chosen, BLENDS))
    return Ensemble(**{"name": name, **values, "members": tuple(lines)})


def _check_keys(values: Mapping[str, Any], kind: type, where: str) -> None:
    """Refuse keys the dataclass ``kind`` lacks and values of another type."""
    types = get_type_hints(kind)
    for key, value in values.items():
        if key not in types or key == "name":
            raise RecipeError(
                f"{where}: " + unknown_name("key", key, [k for k in types if k != "name"])
            )
        if (kind, key) == (EnsembleMember, "recipe"):
            continue
        kept_as = get_origin(types[key]) or types[key]
        text, accepted = _MEANT.get(kept_as, ("a table", dict))
        if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
            raise RecipeError(f"{where}: {key} must be {text}, not {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise RecipeError(f"{where}: {key} must be {text}, not {value}")


_MEANT: Mapping[Any, tuple[str, Any]] = {
    float: ("a number", int | float),
    int: ("a whole number", int),
    str: ("text", str),
    bool: ("true or false", bool),
    tuple: ("a list", list),
}
"""What a value must be, in words and as a type, by the field's type; a table where not here."""

_MEANT_BY_OPTION: Mapping[str, tuple[str, Any]] = {
    "int": ("a whole number", int),
    "float": ("a number", int | float),
    "str": ("text", str),
    "bool": ("true or false", bool),
    "Sequence[int]": ("a list of whole numbers", int),
    "Sequence[float]": ("a list of numbers", int | float),
}
"""The same for an architecture's options, by the type as its source has it."""

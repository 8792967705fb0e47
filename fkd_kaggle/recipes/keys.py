"""The keys of recipe files: what each does, its default and its allowed values.

All texts come from the docstrings of ``recipes.schema`` and of the architectures' ``build_model``,
which are parsed and not imported, so that listing keys loads no Keras.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final

from fkd_kaggle import models
from fkd_kaggle.recipes import schema
from fkd_kaggle.recipes.validation import allowed_values

_WIDTH: Final = 88
"""Width of comments in printed recipe files."""


@dataclass(frozen=True)
class Key:
    """A key of a recipe file or of one of its tables."""

    name: str
    default: str
    """Default as TOML; empty if the key must be given."""
    effect: str
    allowed: tuple[str, ...] = ()
    """The names that the key accepts; empty for other values."""

    @property
    def comment(self) -> str:
        """Return effect and allowed values as one paragraph."""
        named = all(f'"{name}"' in self.effect for name in self.allowed)
        allowed = "" if named else f" One of {', '.join(self.allowed)}."
        return self.effect + allowed


def recipe_keys() -> list[Key]:
    """Return the keys of a recipe of one network, without its tables' keys."""
    return _keys(schema.Recipe)


def ensemble_keys() -> list[Key]:
    """Return the keys of an ensemble file."""
    return _keys(schema.Ensemble)


def ensemble_member_keys() -> list[Key]:
    """Return the keys of a member of an ensemble file."""
    return _keys(schema.EnsembleMember)


def augmentation_keys() -> list[Key]:
    """Return the keys of the table ``augmentation``."""
    chosen = Key(
        "set",
        '"standard"',
        "The set of strengths that the other keys of this table change.",
        tuple(schema.AUGMENTATIONS),
    )
    return [chosen, *_keys(schema.Augmentation)]


def copy_keys() -> list[Key]:
    """Return the keys of a copy in ``offline_augmentation``."""
    return _keys(schema.OfflineCopy)


def option_keys(architecture: str) -> list[Key]:
    """Return the keys of the table ``options`` for a shipped architecture.

    Parameters
    ----------
    architecture
        One of ``models.architecture_names()``.
    """
    own = {
        name: effect
        for name, effect in _option_effects(architecture).items()
        if "as for" not in effect
    }
    # The second network of a cascade has heatmap's options, and deep15 has plain-cnn's.
    shared = _option_effects("heatmap" if architecture == "cascade" else "plain-cnn")
    return [
        Key(name, _toml(ast.literal_eval(default)), own.get(name) or shared.get(name, ""))
        if _is_literal(default)
        else Key(name, default, own.get(name) or shared.get(name, ""))
        for name, (_, default) in models.option_defaults(architecture).items()
        if name != "target_scale"
    ]


def annotate(text: str) -> str:
    """Return the text of a recipe file with a comment above each key.

    Parameters
    ----------
    text
        A recipe or ensemble file. Lines that are not keys are returned unchanged.
    """
    ensemble = re.search(r"^members\b", text, re.MULTILINE) is not None
    architecture = re.search(r'^architecture = "([^"]*)"', text, re.MULTILINE)
    tables = _tables(ensemble, architecture[1] if architecture else schema.Recipe.architecture)
    table, lines = "", list[str]()
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]\s*(#.*)?", line):
            table = header[1]
        found = re.match(r"([\w-]+)\s*=", line)
        key = tables.get(table, {}).get(found[1]) if found else None
        if key is not None and key.comment:
            lines += textwrap.wrap(key.comment, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines.append(line)
    return "\n".join(lines) + "\n"


@cache
def shipped_parameters() -> Mapping[str, int]:
    """Return the number of weights of each shipped recipe's network, by the recipe's name.

    Counted by ``tests/models/test_architectures.py``, because counting needs Keras.
    """
    source = resources.files("fkd_kaggle.recipes") / "parameters.json"
    return dict(json.loads(source.read_text(encoding="utf-8")))


def _tables(ensemble: bool, architecture: str) -> dict[str, dict[str, Key]]:
    """Return the keys by name, by the table that they belong to; "" for the top of the file."""
    tables = {"": ensemble_keys() if ensemble else recipe_keys()}
    if not ensemble:
        tables["augmentation"] = augmentation_keys()
        if architecture in models.architecture_names():
            tables["options"] = option_keys(architecture)
    return {table: {key.name: key for key in keys} for table, keys in tables.items()}


def _keys(kind: type) -> list[Key]:
    effects = _effects()[kind.__name__]
    names = allowed_values()
    return [
        Key(item.name, _default(item), effects.get(item.name, ""), names.get(item.name, ()))
        for item in fields(kind)
        if item.name not in schema.NOT_IN_FILES
    ]


def _default(item: Any) -> str:
    """Return a field's default as TOML; empty for tables and required keys."""
    plain = isinstance(item.default, str | int | float | bool | tuple)
    return _toml(item.default) if plain else ""


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _is_literal(source: str) -> bool:
    try:
        ast.literal_eval(source)
    except ValueError:
        return False
    return True


@cache
def _effects() -> dict[str, dict[str, str]]:
    """Return the docstrings of the fields in ``recipes.schema``, by class and field."""
    source = (resources.files("fkd_kaggle.recipes") / "schema.py").read_text(encoding="utf-8")
    return {
        node.name: dict(_field_docstrings(node))
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def _field_docstrings(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield statement.target.id, _plain(after.value.value)


@cache
def _option_effects(architecture: str) -> dict[str, str]:
    """Return the descriptions of options in the docstring of ``build_model``."""
    file = resources.files(models) / f"{architecture.replace('-', '_')}.py"
    (function,) = (
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "build_model"
    )
    text = ast.get_docstring(function) or ""
    section = re.search(r"Parameters\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)", text, re.DOTALL)
    effects = {}
    for names, body in re.findall(
        r"^(\w[\w, ]*)\n((?:[ ]{4}.*\n?|\n)+)", section[1] if section else "", re.MULTILINE
    ):
        for name in names.split(", "):
            effects[name] = _plain(body)
    return effects


def _plain(text: str) -> str:
    """Return a docstring as one paragraph without markup."""
    text = " ".join(text.split())
    text = re.sub(r" \(``[\w.]+``\)", "", text)  # references to modules
    return text.replace("``", "")

"""The texts of ``fkd-kaggle recipes --keys`` and the comments of printed recipe files."""

from __future__ import annotations

import tomllib
from dataclasses import fields

import pytest

from fkd_kaggle import models
from fkd_kaggle.recipes import keys, loading
from fkd_kaggle.recipes.schema import Recipe


def test_every_key_has_an_effect() -> None:
    groups = [
        keys.recipe_keys(),
        keys.ensemble_keys(),
        keys.ensemble_member_keys(),
        keys.augmentation_keys(),
        keys.copy_keys(),
        *map(keys.option_keys, models.architecture_names()),
    ]
    without = [key.name for group in groups for key in group if not key.effect]
    assert without == []
    names = {key.name for key in keys.recipe_keys()}
    assert names == {item.name for item in fields(Recipe)} - {"name", "code"}


def test_defaults_and_allowed_values_are_those_of_recipes() -> None:
    listed = {key.name: key for key in keys.recipe_keys()}
    assert tomllib.loads(f"value = {listed['learning_rate'].default}")["value"] == 2e-3
    assert "wing" in listed["loss"].allowed
    options = {key.name: key.default for key in keys.option_keys("cascade")}
    assert options["coarse_width"] == "24"


@pytest.mark.parametrize("name", loading.recipe_names())
def test_comments_do_not_change_a_recipe(name: str) -> None:
    text = loading.recipe_text(name)
    annotated = keys.annotate(text)
    assert tomllib.loads(annotated) == tomllib.loads(text)
    assert annotated.startswith("# One line for the list of recipes.\ndescription = ")
    assert annotated.count("\n# ") >= 3


def test_a_key_of_an_earlier_version_that_never_mattered_is_ignored() -> None:
    old = loading.recipe_from_dict({"name": "old", "parameters": 7})
    assert old == Recipe("old")

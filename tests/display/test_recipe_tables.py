"""The table of recipes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from fkd_kaggle.display.recipe_tables import recipes_table
from fkd_kaggle.recipes.schema import Recipe

RECIPE = Recipe("mine", reached={"rmse": 1.25, "minutes": 20})


def first_cells(recipe: Recipe, folder: Path) -> list[str]:
    """Return name, RMSE and cost of a recipe as the table writes them."""
    path = folder / "recipes.csv"
    recipes_table([recipe]).write_csv(path)
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))[1][:3]


def test_a_recipe_shows_what_it_reached_and_at_what_cost(tmp_path: Path) -> None:
    assert first_cells(RECIPE, tmp_path) == ["mine", "1.250", "20 min"]


def test_a_recipe_without_a_result_was_not_run_yet(tmp_path: Path) -> None:
    assert first_cells(replace(RECIPE, reached={}), tmp_path) == ["mine", "not yet run", "–"]


def test_an_error_on_a_part_of_the_face_says_so(tmp_path: Path) -> None:
    region = replace(RECIPE, reached={"rmse": 1.25, "minutes": 20, "keypoints": 7})
    assert first_cells(region, tmp_path) == ["mine", "1.250 (7 points)", "20 min"]

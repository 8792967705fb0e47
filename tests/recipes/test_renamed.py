"""Old keys and values: accepted everywhere, announced where a user wrote them, part of digests."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from fkd_kaggle.errors import RecipeError, RenamedWarning
from fkd_kaggle.recipes import loading, renamed
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.recipes.schema import Augmentation, Ensemble, OfflineCopy, Recipe

DATA = Path(__file__).parent.parent / "data"

OLD_RUN = DATA / "old_run"

DIGESTS: dict[str, Any] = json.loads((DATA / "digests.json").read_text(encoding="utf-8"))

OLD_FILE = """
source = "a paper"
architecture = "ladder"
source_outputs = "shared"
missing = "ffill"
enlarge = [{ flip = true }]
own_metric = "mse-unit"
split = "enlarged-first"
held_out = 0.2

[augmentation]
far = 0.1
shade = 0.2
erase = 0.3
"""

NEW_FILE = """
publication = "a paper"
architecture = "plain-cnn"
annotator_outputs = "shared"
imputation = "ffill"
offline_augmentation = [{ flip = true }]
published_metric = "mse-unit"
split = "after-augmentation"
held_out = 0.2

[augmentation]
zoom_out = 0.1
lighting_gradient = 0.2
random_erasing = 0.3
"""


def load(name: str | Path) -> Recipe:
    """Load a recipe; warnings of old names are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedWarning)
        recipe = loading.load_recipe(str(name))
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.parametrize("name", sorted(DIGESTS["recipes"]))
def test_shipped_recipes_keep_their_digests(name: str) -> None:
    assert load(name).digest == DIGESTS["recipes"][name]


@pytest.mark.parametrize("name", sorted(DIGESTS["members"]))
def test_members_of_shipped_ensembles_keep_names_and_digests(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedWarning)
        ensemble = loading.load_recipe(name)
    assert isinstance(ensemble, Ensemble)
    found = {line.recipe.name: line.recipe.digest for line in ensemble.members}
    # `standard` trained deep15 then, which deep15-aligned has replaced.
    assert DIGESTS["members"][name].items() <= found.items()


@pytest.mark.filterwarnings("ignore::fkd_kaggle.errors.RenamedWarning")
@pytest.mark.parametrize("name", sorted(DIGESTS["varied"]))
def test_changes_under_old_keys_keep_names_and_digests(name: str) -> None:
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert {"name": recipe.name, "digest": recipe.digest} == DIGESTS["varied"][name]


def test_a_file_with_old_names_equals_one_with_new_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NEW_FILE, encoding="utf-8")
    new = load(path)
    path.write_text(OLD_FILE, encoding="utf-8")
    with pytest.warns(RenamedWarning) as caught:
        old = loading.load_recipe(str(path))
    assert old == new
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "\n" not in message
    for old_key, new_key in [*renamed.RECIPE_KEYS.items(), *renamed.AUGMENTATION_KEYS.items()]:
        assert f"{old_key} is now " in message
        assert new_key in message
    assert "'ladder' is now 'plain-cnn'" in message
    assert "'enlarged-first' is now 'after-augmentation'" in message


def test_old_keys_are_accepted_on_the_command_line() -> None:
    with pytest.warns(RenamedWarning, match="missing is now imputation") as caught:
        recipe = loading.load_recipe("farhat:missing=knn,augmentation.erase=0.5")
    assert len(caught) == 1
    assert isinstance(recipe, Recipe)
    assert recipe.name == "farhat-missing-knn-augmentation.erase-0.5"
    changed = load("farhat:imputation=knn,augmentation.random_erasing=0.5")
    assert recipe.digest == changed.digest
    assert changed.imputation == "knn"


def test_old_and_new_key_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('missing = "knn"\nimputation = "mean"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="missing is the old name of imputation"):
        loading.load_recipe(str(path))
    path.write_text("[augmentation]\nfar = 0.1\nzoom_out = 0.2\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="far is the old name of zoom_out"):
        loading.load_recipe(str(path))


def test_an_old_ensemble_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('source = "a paper"\nmembers = [{ recipe = "deep15" }]\n', encoding="utf-8")
    with pytest.warns(RenamedWarning, match="source is now publication"):
        ensemble = loading.load_recipe(str(path))
    assert isinstance(ensemble, Ensemble)
    assert ensemble.publication == "a paper"


@pytest.mark.filterwarnings("ignore::fkd_kaggle.errors.RenamedWarning")
def test_files_of_version_0_1_0_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(OLD_RUN)
    ensemble = loading.load_recipe("tiny.toml")
    assert isinstance(ensemble, Ensemble)
    plain, heatmap = (line.recipe for line in ensemble.members)
    assert plain.architecture == "plain-cnn"
    assert plain.imputation == "ffill"
    assert plain.offline_augmentation == (
        OfflineCopy(flip=True),
        OfflineCopy(rotation=12.0, gain=1.2),
    )
    assert plain.augmentation == Augmentation(
        distribution="uniform", random_erasing=0.2, lighting_gradient=0.1
    )
    assert heatmap.augmentation == Augmentation(
        zoom_out=0.1, lighting_gradient=0.2, blur=0.1, random_erasing=0.3, stretch=0.05
    )
    assert loading.load_recipe("tiny-photos.toml") == loading.recipe_from_dict(
        json.loads((OLD_RUN / "runs/old_photos/photo_run.json").read_text(encoding="utf-8"))[
            "recipe"
        ]
    )


def test_the_plan_of_an_old_run_is_read_without_a_warning() -> None:
    run = json.loads((OLD_RUN / "runs/old_run/run.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedWarning)
        plan = Plan.from_dict(run["plan"])
    assert {member.recipe.name: member.recipe.digest for member in plan.members} == run["recipes"]
    restored = renamed.plan_to_old(plan.to_dict())
    for line in run["plan"]["ensemble"]["members"]:
        del line["recipe"]["parameters"]  # derived, no longer stored
    assert json.loads(json.dumps(restored)) == run["plan"]


def test_new_plans_have_new_names_only() -> None:
    run = json.loads((OLD_RUN / "runs/old_run/run.json").read_text(encoding="utf-8"))
    written = json.dumps(Plan.from_dict(run["plan"]).to_dict())
    for old in [*renamed.RECIPE_KEYS, *renamed.AUGMENTATION_KEYS, "ladder"]:
        assert f'"{old}"' not in written

"""Plans: members, folds and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.recipes import plans
from fkd_kaggle.recipes.plans import Plan


def test_a_plan_is_restored_from_json() -> None:
    plan = plans.make_plan(
        plans.TrainingOptions(["smoke", "kartalovic-leaky"], seed=3, time_limit=60)
    )
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.members == plan.members
    assert again.time_limit == 60


def test_a_recipe_uses_its_own_split_only_when_trained_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('split = "random"\nheld_out = 0.15\n', encoding="utf-8")
    alone = plans.make_plan(plans.TrainingOptions([str(path)]))
    assert (alone.ensemble.split, alone.ensemble.held_out) == ("random", 0.15)
    assert [member.fold for member in alone.members] == [0]
    for plan in (
        plans.make_plan(plans.TrainingOptions([str(path), "deep15"])),
        plans.make_plan(plans.TrainingOptions([str(path)], folds=3)),
    ):
        assert (plan.ensemble.split, plan.ensemble.held_out) == ("grouped", 0.0)
        assert len({member.fold for member in plan.members}) == plan.ensemble.folds


def test_a_held_out_part_is_held_out_once() -> None:
    plan = plans.make_plan(
        plans.TrainingOptions(["quick:split=random,held_out=0.2,trained_folds=0"])
    )
    assert {member.fold for member in plan.members} == {0}


def test_options_override_every_member() -> None:
    plan = plans.make_plan(
        plans.TrainingOptions(["deep15", "eyes-nose"], folds=3, epochs=2, batch_size=8)
    )
    assert len(plan.members) == 6
    assert {member.recipe.epochs for member in plan.members} == {2}
    assert len({member.seed for member in plan.members if member.recipe.name == "deep15"}) == 3


def test_epochs_that_the_user_gives_are_not_extended(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 80\nextended_epochs = 120\n", encoding="utf-8")

    def epochs(name: str, **options: Any) -> int:
        plan = plans.make_plan(plans.TrainingOptions((name,), **options))
        (member,) = {member.recipe.name: member for member in plan.members}.values()
        return plan.most_epochs(member)

    assert epochs(str(path)) == 80
    assert epochs(str(path), time_limit=60.0) == 120
    assert epochs(str(path), time_limit=60.0, epochs=100) == 100
    assert epochs(f"{path}:epochs=100", time_limit=60.0) == 100
    assert epochs(f"{path}:epochs=100,extended_epochs=110", time_limit=60.0) == 110


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"recipes": ("quikc",)}, "did you mean 'quick'"),
        ({"recipes": ("no/such.toml",)}, "does not exist"),
        (
            {
                "recipes": (
                    "deep15",
                    "deep15",
                )
            },
            "twice",
        ),
        ({"folds": 1}, "folds must be at least 2"),
        ({"recipes": ("smoke:split=after-augmentation",)}, "which heatmap-small lacks"),
        ({"recipes": ("smoke:split=groups",)}, "unknown split"),
        ({"recipes": ("smoke:held_out=1",)}, "held_out is a share"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"precision": "float8"}, "unknown precision"),
    ],
)
def test_an_impossible_plan_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plans.make_plan(plans.TrainingOptions(**{"recipes": ("smoke",)} | arguments))
    assert says in str(caught.value)

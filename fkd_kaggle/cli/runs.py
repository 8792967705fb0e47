"""The commands for recipes and runs: ``recipes`` and ``runs``."""

from __future__ import annotations

from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        autocompletion=options.complete_recipe,
        show_default=False,
        help="Print the file of this recipe, as a start for your own.",
    ),
]


def recipes(
    name: RecipeArgument = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List all keys of recipe files instead.")
    ] = False,
) -> None:
    """List recipes and ensembles, or print the file of one with a comment for each key."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.recipes import loading
    from fkd_kaggle.recipes.keys import annotate

    if keys:
        _print_keys()
        return
    if name is not None:
        typer.echo(annotate(loading.recipe_text(name)), nl=False)
        return
    make_console().print(
        tables.recipes_table([loading.load_recipe(name) for name in loading.recipe_names()])
    )


def _print_keys() -> None:
    from fkd_kaggle import models
    from fkd_kaggle.display import tables
    from fkd_kaggle.recipes import keys

    groups = [
        ("a recipe of one network", keys.recipe_keys()),
        *(
            (f"the table options, for architecture = {name!r}", keys.option_keys(name))
            for name in models.architecture_names()
        ),
        ("the table augmentation", keys.augmentation_keys()),
        ("each copy in offline_augmentation", keys.copy_keys()),
        ("an ensemble", keys.ensemble_keys()),
        ("each of the members of an ensemble", keys.ensemble_member_keys()),
    ]
    console = make_console()
    for title, group in groups:
        console.print(f"\nKeys of {title}", style="bold")
        console.print(tables.keys_table(group))


def runs(runs_dir: options.RunsDir = options.RUNS) -> None:
    """List runs with their cross-validated scores."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.runs import folder

    table = tables.runs_table(folder.list_runs(runs_dir))
    make_console().print(table if table.row_count else f"no run in {runs_dir} yet")

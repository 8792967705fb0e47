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


def recipes(name: RecipeArgument = None) -> None:
    """List recipes and ensembles, or print the file of one."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.recipes import loading

    if name is not None:
        typer.echo(loading.recipe_text(name), nl=False)
        return
    make_console().print(
        tables.recipes_table([loading.load_recipe(name) for name in loading.recipe_names()])
    )


def runs(runs_dir: options.RunsDir = options.RUNS) -> None:
    """List runs with their cross-validated scores."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.runs import folder

    table = tables.runs_table(folder.list_runs(runs_dir))
    make_console().print(table if table.row_count else f"no run in {runs_dir} yet")

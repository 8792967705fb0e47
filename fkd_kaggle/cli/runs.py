"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display import console

if TYPE_CHECKING:
    from fkd_kaggle.runs.folder import Run


def recipes(name: options.RecipeArgument = None) -> None:
    """List what can be trained by name, or print one's file."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.recipes import loading

    if name is not None:
        typer.echo(loading.recipe_text(name), nl=False)
        return
    console.make_console().print(
        tables.recipes_table([loading.load_recipe(name) for name in loading.recipe_names()])
    )


def runs(runs_dir: options.RunsDir = options.RUNS) -> None:
    """List runs with their cross-validated scores."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.runs import folder

    table = tables.runs_table(folder.list_runs(runs_dir))
    console.make_console().print(table if table.row_count else f"no run in {runs_dir} yet")


def open_run(name: str | None, runs_dir: Path) -> Run:
    """Return a run by name or by path, the newest where there is no name."""
    from fkd_kaggle.runs import folder

    return folder.find_run(name, runs_dir)


def reopen_run(run: Run) -> Run:
    """Return the run as its folder says now."""
    return type(run).open(run.path)

"""The commands for recipes and runs: ``recipes``, ``runs``, ``runs pack`` and ``runs unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        autocompletion=options.complete_recipe,
        show_default=False,
        help="Print the file of this recipe, as a start for your own.",
    ),
]


PackedFile = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="A file of `runs pack`.")
]

PackOutput = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="PATH", help="File or existing folder to write to."),
]

UnpackedName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the new run.")
]

app = typer.Typer(
    name="runs",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def recipes(
    name: RecipeArgument = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List all keys of recipe files instead.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List recipes and ensembles, or print the file of one with a comment for each key."""
    from fkd_kaggle.display import json_output, tables
    from fkd_kaggle.recipes import loading
    from fkd_kaggle.recipes.keys import annotate

    if keys:
        _print_keys()
        return
    if name is not None:
        if json:
            document = json_output.recipes_document([loading.load_recipe(name)])
            typer.echo(json_output.to_json(document))
            return
        typer.echo(annotate(loading.recipe_text(name)), nl=False)
        return
    items = [loading.load_recipe(name) for name in loading.recipe_names()]
    if json:
        typer.echo(json_output.to_json(json_output.recipes_document(items)))
        return
    make_console().print(tables.recipes_table(items))


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


@app.callback()
def list_runs(
    context: typer.Context,
    json: options.Json = False,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """List runs with their cross-validated scores, or pack and unpack them."""
    from fkd_kaggle.display import json_output, tables
    from fkd_kaggle.runs import folder

    if context.invoked_subcommand is not None:
        return
    found = folder.list_runs(runs_dir)
    if json:
        typer.echo(json_output.to_json(json_output.runs_document(found)))
        return
    table = tables.runs_table(found)
    make_console().print(table if table.row_count else f"no run in {runs_dir} yet")


@app.command()
def pack(
    run: options.RunArgument = None,
    output: PackOutput = Path(),
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Write a run to one file, for another machine or a colleague.

    The file contains weights, predictions, scores and the report, with a checksum for each. It does
    not contain images of the training data, except those that the report shows.
    """
    from fkd_kaggle.runs.folder import find_run
    from fkd_kaggle.runs.packing import pack_run

    console = make_console()
    with console.status("packing…") as status:
        path = pack_run(
            find_run(run, runs_dir),
            output,
            lambda done, total: status.update(f"packing: {done >> 20} of {total >> 20} MB"),
        )
    print_line(console, f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    print_line(console, f"on the other machine: fkd-kaggle runs unpack {path.name}")


@app.command()
def unpack(
    file: PackedFile,
    name: UnpackedName = None,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Unpack a file of `runs pack` into a new run, after checking each file's checksum."""
    from fkd_kaggle.runs.packing import unpack_run

    console = make_console()
    with console.status("unpacking…") as status:
        run = unpack_run(
            file,
            runs_dir,
            name,
            lambda done, total: status.update(f"unpacking: {done >> 20} of {total >> 20} MB"),
        )
    print_line(console, f"unpacked {run.path}")
    print_line(console, f"next: fkd-kaggle predict {run.name}")

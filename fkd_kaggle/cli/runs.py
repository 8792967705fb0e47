"""The commands for recipes and runs: ``recipes``, ``runs`` and its commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.cli.options import Csv, Yes, print_table
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError
from fkd_kaggle.formatting import escape_text

if TYPE_CHECKING:
    from fkd_kaggle.recipes.schema import Ensemble, Recipe
    from fkd_kaggle.runs.overview import RunFolder

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
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        callback=options.check_file,
        help="File or existing folder to write to.",
    ),
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

RecipeTime = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="Sort by what each reaches on this machine in this time: 3m, 1h.",
    ),
]

RunNames = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        autocompletion=options.complete_run,
        show_default=False,
        help="Names of runs, comparisons or photo runs.",
    ),
]

Submitted = Annotated[
    bool, typer.Option("--submitted", help="Delete runs that were submitted to Kaggle too.")
]

Keep = Annotated[
    int | None,
    typer.Option("--keep", metavar="N", min=0, help="Delete all but the newest N runs."),
]


def recipes(
    name: RecipeArgument = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List all keys of recipe files instead.")
    ] = False,
    time: RecipeTime = None,
    json: options.Json = False,
    csv: Csv = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """List recipes and ensembles, or print the file of one with a comment for each key.

    RMSE and cost were measured on held-out faces; each recipe file says on which and how.
    """
    from fkd_kaggle.display import json_output, recipe_tables
    from fkd_kaggle.recipes import loading
    from fkd_kaggle.recipes.keys import annotate

    _check_recipe_options(name, keys=keys, json=json, is_table=time is not None or csv is not None)
    if keys:
        _print_keys()
        return
    if name is not None:
        if json:
            document = json_output.recipes_document([loading.load_recipe(name)])
            typer.echo(json_output.to_json(document))
            return
        typer.echo(escape_text(annotate(loading.recipe_text(name))), nl=False)
        return
    items = [loading.load_recipe(name) for name in loading.recipe_names()]
    if json:
        typer.echo(json_output.to_json(json_output.recipes_document(items)))
        return
    reached = None
    if time is not None:
        limit = options.parse_duration(time, "--time") or 0.0
        items, reached = _sort_by_result(items, limit, data_dir, runs_dir)
    print_table(make_console(), recipe_tables.recipes_table(items, reached), csv, "no recipes")


def _check_recipe_options(name: str | None, *, keys: bool, json: bool, is_table: bool) -> None:
    """Refuse options of ``recipes`` that do not go together.

    Parameters
    ----------
    name
        Recipe to print; None for the list.
    keys, json
        Whether ``--keys`` and ``--json`` are given.
    is_table
        Whether ``--time`` or ``--csv`` is given.

    Raises
    ------
    FkdError
        The message names the options to omit.
    """
    if keys and (name is not None or json or is_table):
        raise FkdError("--keys lists all keys of recipe files: omit NAME, --json, --time and --csv")
    if json and is_table:
        raise FkdError("--json prints what the recipe files say: omit --time and --csv")
    if name is not None and is_table:
        raise FkdError("--time and --csv apply to the table of all recipes: omit them, or NAME")


def _sort_by_result(
    items: Sequence[Recipe | Ensemble], limit: float, data_dir: Path, runs_dir: Path
) -> tuple[list[Recipe | Ensemble], dict[str, tuple[str, str]]]:
    """Return recipes by what they reach here in ``limit`` seconds, and that in words by name."""
    from fkd_kaggle.display.time_plan import describe_result
    from fkd_kaggle.ensemble.training_estimate import estimate_results

    results = estimate_results([item.name for item in items], limit, data_dir, runs_dir)
    order = sorted(items, key=lambda item: results[item.name].rank)
    return order, {name: describe_result(result) for name, result in results.items()}


def _print_keys() -> None:
    from fkd_kaggle import models
    from fkd_kaggle.display import recipe_tables
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
        console.print(recipe_tables.keys_table(group))


@app.callback()
def list_runs(
    context: typer.Context,
    json: options.Json = False,
    csv: Csv = None,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """List runs with state, age, size and scores; delete, prune, pack and unpack them."""
    from datetime import UTC, datetime

    from fkd_kaggle.display import json_output, tables
    from fkd_kaggle.runs import folder, overview

    command = context.invoked_subcommand
    if command is not None:
        if json or csv is not None:
            raise FkdError(f"--json and --csv apply to the list of runs: omit them with {command}")
        context.default_map = {command: {"runs_dir": str(runs_dir)}}
        return
    options.check_json(json=json, csv=csv)
    if json:
        typer.echo(json_output.to_json(json_output.runs_document(folder.list_runs(runs_dir))))
        return
    table = tables.runs_table(overview.list_folders(runs_dir), datetime.now(UTC))
    print_table(make_console(), table, csv, f"no run in {runs_dir} yet")


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


@app.command()
def delete(
    names: RunNames,
    yes: Yes = False,
    submitted: Submitted = False,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Delete runs, comparisons or photo runs, after a confirmation.

    A run whose predictions were submitted is deleted only with --submitted.
    """
    from fkd_kaggle.runs import overview

    folders = overview.choose_folders(runs_dir, names)
    kept = _submitted_runs(submissions_dir)
    refused = [folder.name for folder in folders if folder.name in kept]
    if refused and not submitted:
        raise FkdError(f"{', '.join(refused)} was submitted to Kaggle: add --submitted to delete")
    _delete(folders, yes)


@app.command()
def prune(
    keep: Keep = None,
    yes: Yes = False,
    submitted: Submitted = False,
    runs_dir: options.RunsDir = options.RUNS,
    submissions_dir: options.SubmissionsDir = options.SUBMISSIONS,
) -> None:
    """Delete runs without a trained network and, with --keep N, all but the newest N runs.

    Runs whose predictions were submitted stay unless --submitted is given.
    """
    from fkd_kaggle.runs import overview

    overview.delete_leftovers(runs_dir)
    stay = set() if submitted else _submitted_runs(submissions_dir)
    chosen = overview.choose_prunable(overview.list_folders(runs_dir), stay, keep=keep)
    if not chosen:
        print_line(make_console(), "nothing to delete")
        return
    _delete(chosen, yes)


def _submitted_runs(submissions_dir: Path) -> set[str]:
    """Return the names of the runs whose predictions were uploaded, alone or blended."""
    from fkd_kaggle.data import submission

    return {
        name
        for one in submission.list_submissions(submissions_dir)
        if one.ref is not None
        for name in (one.run, *one.runs)
    }


def _delete(folders: Sequence[RunFolder], yes: bool) -> None:
    """Delete folders after a confirmation and print how much space is free."""
    from fkd_kaggle.formatting import format_size
    from fkd_kaggle.runs import overview

    console = make_console()
    for folder in folders:
        is_known = folder.members or folder.usable
        networks = f", {folder.usable} trained networks" if is_known else ""
        print_line(
            console,
            f"{folder.name}: {folder.state or folder.kind}{networks}, {format_size(folder.size)}",
        )
    total = format_size(sum(folder.size for folder in folders))
    options.confirm(f"delete {len(folders)} of the runs, {total}?", yes=yes)
    for folder in folders:
        overview.delete_folder(folder.path)
    print_line(console, f"deleted {', '.join(one.name for one in folders)} ({total})")

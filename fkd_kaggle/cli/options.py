"""Options that several commands share, and how their text becomes values.

Options of a single command are defined beside the command. Nothing heavy is imported here, so that
``--help`` is instant.
"""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fkd_kaggle.errors import FkdError
from fkd_kaggle.files import STANDARD_OUTPUT
from fkd_kaggle.formatting import one_line
from fkd_kaggle.recipes.durations import parse_duration as parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.display.wide_table import WideTable
    from fkd_kaggle.recipes.plans import Plan, TrainingOptions
    from fkd_kaggle.runs.folder import Run

DATA: Final = Path("data")

RUNS: Final = Path("runs")

SUBMISSIONS: Final = Path("submissions")


_started: list[float] = []


def start_clock() -> None:
    """Note that a command starts now; its time limit counts from here."""
    _started[:] = [time.monotonic()]


def command_began() -> float:
    """Return when the command began, by ``time.monotonic()``; now if nobody noted it."""
    return _started.pop() if _started else time.monotonic()


def complete_recipe(incomplete: str) -> list[str]:
    """Return the names of the shipped recipes that start with ``incomplete``."""
    from fkd_kaggle.recipes import loading

    return [name for name in loading.recipe_names() if name.startswith(incomplete)]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs that start with ``incomplete``, of the chosen runs folder."""
    from fkd_kaggle.runs import folder

    names = folder.run_names(_chosen_runs_dir(context))
    return [name for name in names if name.startswith(incomplete)]


def _chosen_runs_dir(context: typer.Context) -> Path:
    """Return the runs folder of a command that is not complete yet.

    `runs` passes its ``--runs-dir`` on to its commands only when they run.
    """
    one: Any = context
    while one is not None:
        source = one.get_parameter_source("runs_dir")
        if source is not None and source.name == "COMMANDLINE":
            return Path(one.params["runs_dir"])
        one = one.parent
    return RUNS


def run_argument(path: Path, data_dir: Path = DATA) -> str:
    """Return a run and its data as arguments of a command, for messages that name the command.

    Parameters
    ----------
    path
        The run's folder.
    data_dir
        Folder of the competition's files.
    """
    name = path.name if path.parent == RUNS else shlex.quote(str(path))
    data = "" if data_dir == DATA else f" --data-dir {shlex.quote(str(data_dir))}"
    return f"{name}{data}"


DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="FOLDER", help="Folder of the competition's files.")
]

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="FOLDER", help="Folder of the runs.")]

SubmissionsDir = Annotated[
    Path,
    typer.Option("--submissions-dir", metavar="FOLDER", help="Folder of the submission files."),
]

Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME",
        autocompletion=complete_recipe,
        help="Recipe or ensemble: a name (see `fkd-kaggle recipes`) or the path of a .toml file. "
        "NAME:imputation=knn,epochs=20 changes single values. Can be repeated.",
    ),
]

TimeLimit = Annotated[
    str | None,
    typer.Option(
        "--time-limit", "-t", metavar="TIME", help="Total training time: 90s, 20m or 1.5h."
    ),
]

Folds = Annotated[
    int | None,
    typer.Option("--folds", metavar="N", help="Number of folds; each is held out once."),
]

Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Number of epochs of each network.")
]

BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Number of faces in a batch.")
]

Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Random seed.")]

Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="TYPE",
        help="auto, float32, bfloat16 or float16; auto chooses by the device.",
    ),
]

RunName = Annotated[
    str | None, typer.Option("--run", "--name", metavar="NAME", help="Name of the new run.")
]

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        autocompletion=complete_run,
        show_default=False,
        help="Name or folder of a run; default: the newest run with a trained network.",
    ),
]

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        autocompletion=complete_run,
        show_default=False,
        help="Names or folders of runs; several runs are blended. Default: the newest run with a "
        "trained network.",
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="Number of networks to train at the same time, each in its own process; default: one "
        "for each GPU or, without a GPU, for each core. 0 trains in the command's own process.",
    ),
]


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document instead; docs/json.md lists the fields."),
]

AcceptImplausible = Annotated[
    bool,
    typer.Option(
        "--accept-implausible",
        help="Use labels or locations that are not pixels of 96×96 faces.",
    ),
]

Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write the complete table to a CSV file; '-' prints it."
    ),
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a confirmation.")]


class Via(StrEnum):
    """Where networks are trained, if not on this machine."""

    KERNEL = "kernel"


ViaOption = Annotated[
    Via | None,
    typer.Option("--via", help="Train in a kernel on Kaggle's GPUs instead of on this machine."),
]

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Train on all nodes of a Ray cluster: auto (the cluster of this machine, which is "
        "started if there is none), HOST:PORT or ray://HOST:PORT.",
    ),
]

Corrections = Annotated[
    Path | None,
    typer.Option(
        "--corrections",
        metavar="CSV",
        show_default=False,
        help="Train with corrected labels: corrections.csv, which the page of a run saves. "
        "training.csv is not changed, and scores use its labels.",
    ),
]

Shards = Annotated[
    int,
    typer.Option(
        "--shards",
        metavar="N",
        min=1,
        help="Number of kernels that share the training; one more kernel blends the networks.",
    ),
]


def check_cluster(
    cluster: str | None, workers: int | None, tensorboard: bool = False
) -> str | None:
    """Return the address of a cluster; refuse options that apply to this machine only."""
    if cluster is not None and (workers is not None or tensorboard):
        raise FkdError(
            "--workers and --tensorboard apply to this machine: omit them with --cluster"
        )
    return cluster


def make_training_options(
    recipe: Recipes = None,
    time_limit: TimeLimit = None,
    folds: Folds = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    precision: Precision = None,
) -> TrainingOptions:
    """Return the values of the training options; this signature defines the options.

    Raises
    ------
    FkdError
        The time limit is not a time.
    """
    from fkd_kaggle.recipes.plans import TrainingOptions

    return TrainingOptions(
        recipes=tuple(recipe or ()),
        time_limit=parse_duration(time_limit),
        folds=folds,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        precision=precision or "auto",
    )


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter ``training`` by the training options.

    Parameters
    ----------
    command
        A command with a parameter ``training``, which receives ``TrainingOptions``.

    Returns
    -------
    Callable
        A command with one parameter for each training option instead of ``training``.
    """
    # TrainingOptions is not imported at start-up, and no parameter of that type remains.
    names = {"TrainingOptions": object}
    shared = inspect.signature(make_training_options, eval_str=True, locals=names).parameters
    own = inspect.signature(command, eval_str=True, locals=names).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        training = make_training_options(**{name: values.pop(name) for name in shared})
        command(training=training, **values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        parameters += shared.values() if name == "training" else [parameter]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def plan_from(training: TrainingOptions, *, default: str | None = None) -> Plan:
    """Return the plan that the training options describe.

    Parameters
    ----------
    training
        The training options.
    default
        Recipe to train if the user named none; None for the default ensemble.

    Raises
    ------
    RecipeError
        A recipe is unknown or an option is invalid.
    """
    from fkd_kaggle.recipes import plans

    recipes = training.recipes or ((default,) if default else ())
    return plans.make_plan(replace(training, recipes=recipes))


def given_training_options(training: TrainingOptions) -> list[str]:
    """Return the names of the training options that the user gave, such as ``--batch-size``."""
    defaults = type(training)()
    names = {"recipes": "recipe"}
    return [
        f"--{names.get(field.name, field.name).replace('_', '-')}"
        for field in fields(training)
        if getattr(training, field.name) != getattr(defaults, field.name)
    ]


def choose_run(console: Console, name: str | None, runs_dir: Path) -> Run:
    """Return a run by its name; without a name the newest usable run, which is printed.

    Raises
    ------
    RunError
        There is no such run.
    """
    from fkd_kaggle.display.console import print_line
    from fkd_kaggle.runs import folder

    found = folder.find_run(name, runs_dir)
    if name is None:
        newer = [
            run.name
            for run in folder.list_runs(runs_dir)
            if run.created > found.created and not folder.has_weights(run)
        ]
        skipped = f"; {', '.join(newer)} has no trained network" if newer else ""
        if folder.has_weights(found):  # otherwise the command that uses the run explains what to do
            print_line(console, f"run {found.name}, the newest with a trained network{skipped}")
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Ask a question; return only if the answer is yes.

    Parameters
    ----------
    question
        What to confirm.
    yes
        Whether the user has confirmed with ``--yes``.

    Raises
    ------
    FkdError
        The answer is no, or there is no terminal to ask on.
    """
    if yes:
        return
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise FkdError(f"{question} There is no terminal to ask on: add --yes")
    if not typer.confirm(one_line(question)):
        raise FkdError("nothing was done")


def check_file(path: Path | None) -> Path | None:
    """Refuse "-" for an option that names a file and cannot print it."""
    if path == STANDARD_OUTPUT:
        raise typer.BadParameter("'-' is no file, and the result cannot be printed: name a file")
    return path


def check_json(*, json: bool, csv: Path | None) -> None:
    """Refuse ``--csv`` with ``--json``, which prints no table.

    Raises
    ------
    FkdError
        Both are given.
    """
    if json and csv is not None:
        raise FkdError("--json prints a document instead of the table: omit --csv")


def print_table(console: Console, table: WideTable, csv: Path | None, empty: str) -> None:
    """Print a table and name the columns that do not fit; write it to a file if asked for.

    Parameters
    ----------
    console
        Where to print.
    table
        The table.
    csv
        File that gets all columns; "-" prints them instead of the table. None for none.
    empty
        Printed instead of a table without rows.
    """
    from fkd_kaggle.display.console import print_line

    if csv == STANDARD_OUTPUT:  # nothing else may be printed there
        table.write_csv(csv)
        return
    if not table.row_count:
        print_line(console, empty)
    else:
        console.print(table)
        if csv is None and (dropped := table.dropped(console.width)):
            print_line(console, f"not shown: {', '.join(dropped)}; --csv FILE writes all columns")
    if csv is not None:
        table.write_csv(csv)
        print_line(console, f"wrote {csv}")

"""Options of the commands for kernels, and the job that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.formatting import format_duration

if TYPE_CHECKING:
    from fkd_kaggle.kernel.job import KernelJob
    from fkd_kaggle.recipes.plans import TrainingOptions

KERNEL: Final = Path("kernel")


def complete_kernel(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs with pushed kernels that start with ``incomplete``."""
    from fkd_kaggle.kernel import records

    found = records.read_records(Path(context.params.get("runs_dir") or options.RUNS))
    names = dict.fromkeys(record.run for record in found)
    return [name for name in names if name.startswith(incomplete)]


Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        metavar="NAME",
        help="Kaggle's name of the machine: NvidiaTeslaT4 (two T4, the default), None for no GPU, "
        "or a GPU of certain competitions, such as NvidiaL4 or NvidiaH100. TPUs cannot be used.",
    ),
]

Title = Annotated[
    str | None,
    typer.Option(
        "--title",
        metavar="TEXT",
        help="Title of the kernel on Kaggle, from which Kaggle makes its address; default: from "
        "the name of the run.",
    ),
]

SessionLimit = Annotated[
    str | None,
    typer.Option(
        "--session-limit",
        metavar="TIME",
        help="Time after which Kaggle may end the session, such as 12h; the training ends before. "
        "Default: 9h.",
    ),
]

Notebook = Annotated[
    bool,
    typer.Option(
        "--notebook", help="Build a notebook with explanations and figures instead of a script."
    ),
]

Owner = Annotated[
    str | None,
    typer.Option("--owner", metavar="USER", help="Kaggle user who owns the kernel; default: you."),
]

BuildFolder = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Folder to write the kernel to.")
]

OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Only download the files, unchanged, to this folder."
    ),
]

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Continue to print until the kernel ends.")
]

KernelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="KERNEL",
        autocompletion=complete_kernel,
        show_default=False,
        help="Run or kernel that was pushed from here; default: the newest. NAME/2 is version 2.",
    ),
]


def make_job(
    training: TrainingOptions,
    accelerator: str | None,
    title: str | None,
    shards: int = 1,
    session_limit: str | None = None,
    *,
    notebook: bool = False,
    corrections: Path | None = None,
    data_dir: Path = options.DATA,
) -> KernelJob:
    """Return the training that the options describe, as a job for Kaggle.

    Parameters
    ----------
    training
        Training options; without a recipe, the kernels' default recipe is trained.
    accelerator
        Kaggle's name of the machine; None for the default.
    title
        Title of the kernel; None for a title made from the name of the run.
    shards
        Number of kernels that share the training.
    session_limit
        Time after which Kaggle may end a session, as text; None for the default.
    notebook
        Whether the kernels are notebooks instead of scripts.
    corrections
        corrections.csv to train with, checked against training.csv; None for none.
    data_dir
        Folder of the competition's files; read only with ``corrections``.

    Raises
    ------
    DataError
        The corrections do not fit training.csv, or training.csv is missing.
    RecipeError
        A recipe is unknown or an option is invalid.
    KernelError
        The accelerator cannot be used, or the session limit is out of range.
    """
    from fkd_kaggle.kernel import job, machines
    from fkd_kaggle.kernel.training import read_corrections_text

    console = make_console()
    machine = accelerator or machines.ACCELERATOR
    warning = machines.check_accelerator(machine)
    if warning:
        print_line(console, f"warning: {warning}")
    limit = options.parse_duration(session_limit, "--session-limit") or job.SESSION_LIMIT
    job.check_session_limit(limit)
    plan = options.plan_from(training, default=job.RECIPE)
    text = "" if corrections is None else read_corrections_text(corrections, data_dir)
    made = job.KernelJob(plan, shards, machine, title, limit, notebook, text)
    if plan.time_limit is not None and plan.time_limit > job.training_time(limit):
        print_line(
            console,
            f"warning: a session is planned for {format_duration(limit)}, so the training ends "
            f"after {format_duration(job.training_time(limit))}; see --session-limit",
        )
    return made

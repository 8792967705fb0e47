"""What the command line offers: every option with its help, and how text becomes its value.

A command's signature in ``cli`` names these; what the command does with them is said there.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from fkd_kaggle.errors import FkdError

DATA: Final = Path("data")

RUNS: Final = Path("runs")

SUBMISSIONS: Final = Path("submissions")

PRACTICE: Final = Path("practice")

EXPLORE: Final = Path("explore")

KERNEL: Final = Path("kernel")


def complete_recipe(incomplete: str) -> list[str]:
    """Return the shipped recipes that a shell may offer."""
    from fkd_kaggle.recipes import loading

    return [name for name in loading.recipe_names() if name.startswith(incomplete)]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs that a shell may offer, of the folder named before on the line."""
    folder = Path(context.params.get("runs_dir") or RUNS)
    names = sorted(note.parent.name for note in folder.glob("*/run.json"))
    return [name for name in names if name.startswith(incomplete)]


def complete_kernel(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs whose kernels were pushed, that a shell may offer."""
    from fkd_kaggle.kernel import records

    noted = records.read_records(Path(context.params.get("runs_dir") or RUNS))
    return [name for name in dict.fromkeys(one.run for one in noted) if name.startswith(incomplete)]


def duration(text: str | None, option: str = "--time-limit") -> float | None:
    """Return the seconds in 90s, 20m, 1.5h or a plain number of seconds.

    Raises
    ------
    FkdError
        It is none of these, or not above zero.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", text.strip().lower())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise FkdError(f"{option} {text!r} is not a time: write 90s, 20m or 1.5h")
    return seconds


DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="FOLDER", help="Folder of the competition's files.")
]

RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="FOLDER", help="Folder of the runs.")]

SubmissionsDir = Annotated[
    Path,
    typer.Option("--submissions-dir", metavar="FOLDER", help="Folder of the submission files."),
]

Force = Annotated[bool, typer.Option("--force", help="Download everything anew.")]

ExploreOutput = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the pictures.")
]

Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe", "-r", metavar="NAME", autocompletion=complete_recipe,
        help="A network or an ensemble by name (see `fkd-kaggle recipes`), or a .toml file of "
        "your own; NAME:missing=knn,epochs=20 changes keys of it; may be repeated.",
    ),
]  # fmt: skip

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", autocompletion=complete_recipe, show_default=False,
        help="Print this one's file, to be copied and edited.",
    ),
]  # fmt: skip

TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", "-t", metavar="TIME", help="For all of it: 90s, 20m, 1.5h."),
]

Folds = Annotated[
    int | None,
    typer.Option("--folds", metavar="N", help="Parts of the faces; each is held out in turn."),
]

Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Epochs of each network.")
]

BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Faces in a batch.")
]

Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Of folds, weights and views.")
]

Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="TYPE",
        help="auto, float32, bfloat16 or float16; auto asks the device.",
    ),
]  # fmt: skip

RunName = Annotated[
    str | None, typer.Option("--run", "--name", metavar="NAME", help="Name of the new run.")
]

Resume = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="RUN", autocompletion=complete_run,
        help="Go on with a run that was stopped, as it was planned.",
    ),
]  # fmt: skip

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1,
        help="Networks to train at once, a process each; one for each GPU or core by default.",
    ),
]  # fmt: skip

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write logs for TensorBoard into the run.")
]

Compared = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", autocompletion=complete_recipe, show_default=False,
        help="Recipes and ensembles by name, or .toml files of your own.",
    ),
]  # fmt: skip

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget", "-b", metavar="TIME",
        help="Training time of each, for each seed and fold: 90s, 10m; an ensemble shares it among "
        "its members. 10m where no --epochs are given.",
    ),
]  # fmt: skip

Seeds = Annotated[
    int,
    typer.Option("--seeds", metavar="N", min=1, help="Trainings of each that differ by chance."),
]

ComparedFolds = Annotated[
    int | None,
    typer.Option(
        "--folds", metavar="N",
        help="Parts of the faces, each held out in turn; one fifth is held out if not given.",
    ),
]  # fmt: skip

CompareName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="A new comparison, or one to go on with or to add recipes to.",
    ),
]

Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="FOLDER", help="Leave data, run and submissions there."),
]

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", autocompletion=complete_run, show_default=False,
        help="Name or folder of a run; the newest where none is given.",
    ),
]  # fmt: skip

File = Annotated[
    Path | None, typer.Option("--file", metavar="CSV", help="Submit this file instead of a run.")
]

Message = Annotated[
    str | None, typer.Option("--message", "-m", metavar="TEXT", help="A note for Kaggle's list.")
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Write and check the file; upload nothing.")
]

Local = Annotated[
    bool, typer.Option("--local", help="Only those on this disk; ask Kaggle nothing.")
]

Rows = Annotated[int, typer.Option("--rows", metavar="N", min=1, help="How many teams.")]

PracticeData = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="PATH",
        help="Folder or zip in the competition's format; faces are drawn where none is given.",
    ),
]  # fmt: skip

Solution = Annotated[
    Path | None,
    typer.Option("--solution", metavar="CSV", help="The answers (RowId,Location) to score by."),
]

HoldOut = Annotated[
    float | None,
    typer.Option(
        "--hold-out", metavar="SHARE",
        help="Make this share of the training faces the test set, with known answers.",
    ),
]  # fmt: skip

PracticeSeed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Which faces are held out, or drawn."),
]

Port = Annotated[
    int, typer.Option("--port", metavar="N", help="The official client looks at 7777.")
]

StateDir = Annotated[
    Path, typer.Option("--state-dir", metavar="FOLDER", help="Keeps submissions and scores.")
]

KernelsAtOnce = Annotated[
    int,
    typer.Option(
        "--kernels-at-once", metavar="N", min=1, help="So many kernels run at once, others wait."
    ),
]

FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault", metavar="FAULT",
        help="Misbehave: 401, rules, 404, 429:times=2, 503, cut-download:after=1000, limit, "
        "slow:seconds=2 and more; may be repeated.",
    ),
]  # fmt: skip


class Via(StrEnum):
    """Where training happens."""

    KERNEL = "kernel"


ViaOption = Annotated[
    Via | None,
    typer.Option("--via", help="Train on Kaggle's GPUs, in a kernel, instead of on this machine."),
]

Shards = Annotated[
    int,
    typer.Option(
        "--shards", metavar="N", min=1,
        help="Kernels that share the networks; one more blends what they trained.",
    ),
]  # fmt: skip

Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator", metavar="NAME",
        help="Kaggle's name for the machine: NvidiaTeslaT4 (two T4s, the default), "
        "NvidiaTeslaP100, None for no GPU.",
    ),
]  # fmt: skip

Title = Annotated[
    str | None,
    typer.Option(
        "--title", metavar="TEXT",
        help="The kernel's title on Kaggle, which also gives its name; made from the run's name "
        "where there is none.",
    ),
]  # fmt: skip

Owner = Annotated[
    str | None,
    typer.Option("--owner", metavar="USER", help="Whose kernel it is; yours where not given."),
]

BuildFolder = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where to write it.")]

OutputFolder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="FOLDER", help="Leave the files there, as they are."),
]

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on printing until the kernel ends.")
]

KernelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="KERNEL", autocompletion=complete_kernel, show_default=False,
        help="A run or a kernel that was pushed from here; the newest where none is given.",
    ),
]  # fmt: skip

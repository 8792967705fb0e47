"""The commands for the practice Kaggle: ``practice`` and ``rehearse``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError

if TYPE_CHECKING:
    from fkd_kaggle.practice.server import PracticeKaggle

PRACTICE: Final = Path("practice")

PracticeData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Folder or zip file in the competition's format; default: synthetic faces.",
    ),
]

Solution = Annotated[
    Path | None,
    typer.Option(
        "--solution",
        metavar="CSV",
        help="Solution of the test set of --data: a file with RowId,Location.",
    ),
]

HoldOut = Annotated[
    float | None,
    typer.Option(
        "--hold-out",
        metavar="SHARE",
        help="Use this share of the training faces, from 0.01 to 0.9, as the test set, whose "
        "solution is known. Default: the test set of the data; 0.2 if the data has none.",
    ),
]

PracticeSeed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, help="Random seed of the held-out or synthetic faces."
    ),
]

Port = Annotated[
    int,
    typer.Option("--port", metavar="N", help="Port of the server; Kaggle's client expects 7777."),
]

StateDir = Annotated[
    Path,
    typer.Option("--state-dir", metavar="FOLDER", help="Folder of submissions and scores."),
]

KernelsAtOnce = Annotated[
    int,
    typer.Option(
        "--kernels-at-once",
        metavar="N",
        min=1,
        help="Number of kernels that run at the same time; others wait.",
    ),
]

FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="FAULT",
        help="Simulate a failure: 401, rules, 404, 429:times=2, 503, cut-download:after=1000, "
        "limit, slow:seconds=2 and others. Can be repeated.",
    ),
]

Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="FOLDER", help="Keep data, run and submissions in this folder."),
]


def practice(
    data: PracticeData = None,
    solution: Solution = None,
    hold_out: HoldOut = None,
    seed: PracticeSeed = 0,
    port: Port = 7777,
    state_dir: StateDir = PRACTICE,
    kernels_at_once: KernelsAtOnce = 2,
    fault: FaultOption = None,
) -> None:
    """Run a practice Kaggle on this machine until Ctrl-C."""
    from fkd_kaggle.practice import dataset, server

    console = make_console()

    def print_address(kaggle: PracticeKaggle) -> None:
        variables = dict(kaggle.environment)
        if kaggle.port == server.PORT:
            variables.pop("FKD_PRACTICE_URL")
        settings = " ".join(f"{key}={value}" for key, value in variables.items())
        print_line(
            console,
            f"practice Kaggle at {kaggle.url}: {kaggle.dataset.about}\n"
            f"to use it in another terminal: export {settings}\n"
            "Ctrl-C stops it and its kernels; submissions are kept",
        )

    server.serve(
        dataset.PracticeData(data, solution, hold_out, seed=seed),
        state_dir=state_dir,
        port=port,
        faults=fault or (),
        kernels_at_once=kernels_at_once,
        on_ready=print_address,
    )


def rehearse(
    recipe: options.Recipes = None,
    time_limit: options.TimeLimit = None,
    keep: Keep = None,
    via: options.ViaOption = None,
    shards: options.Shards = 1,
    data: PracticeData = None,
    solution: Solution = None,
    hold_out: HoldOut = None,
) -> None:
    """Run fetch, train and submit against a local practice Kaggle."""
    from fkd_kaggle.display import submission_tables, tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.practice import dataset, rehearsal

    console = make_console()
    training = options.make_training_options(recipe, time_limit)
    plan = options.plan_from(training, default="smoke")
    if via is None and shards > 1:
        raise FkdError("--shards is an option of kernels: add --via kernel")
    display = TrainingDisplay(console) if via is None else KernelDisplay(console)
    with display:
        result = rehearsal.rehearse(
            plan,
            keep=keep,
            on_event=display,
            on_step=lambda line: print_line(console, line),
            shards=None if via is None else shards,
            source=dataset.PracticeData(data, solution, hold_out),
        )
    console.print(tables.scores_table(result.scores))
    if result.leaderboard:
        console.print(submission_tables.leaderboard_table(result.leaderboard, result.ensemble.team))
    print_line(console, result.verdict)
    if keep is not None:
        print_line(console, f"data, run and submissions are in {keep}")
    result.check()

"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line
from fkd_kaggle.errors import FkdError


def practice(
    data: options.PracticeData = None,
    solution: options.Solution = None,
    hold_out: options.HoldOut = None,
    seed: options.PracticeSeed = 0,
    port: options.Port = 7777,
    state_dir: options.StateDir = options.PRACTICE,
    kernels_at_once: options.KernelsAtOnce = 2,
    fault: options.FaultOption = None,
) -> None:
    """Run a practice Kaggle on this machine until Ctrl-C."""
    from fkd_kaggle.practice import server

    console = make_console()

    def ready(kaggle: server.PracticeKaggle) -> None:
        variables = dict(kaggle.environment)
        if kaggle.port == server.PORT:
            variables.pop("FKD_PRACTICE_URL")
        settings = " ".join(f"{key}={value}" for key, value in variables.items())
        print_line(
            console,
            f"practice Kaggle at {kaggle.url}: {kaggle.dataset.about}\n"
            f"use it from another terminal with: export {settings}\n"
            "Ctrl-C ends it, and kernels that run; submissions are kept",
        )

    server.serve(
        data, solution, hold_out, state_dir=state_dir, port=port, faults=fault or (),
        kernels_at_once=kernels_at_once, seed=seed, on_ready=ready,
    )  # fmt: skip


def rehearse(
    recipe: options.Recipes = None,
    time_limit: options.TimeLimit = None,
    keep: options.Keep = None,
    via: options.ViaOption = None,
    shards: options.Shards = 1,
    data: options.PracticeData = None,
    solution: options.Solution = None,
    hold_out: options.HoldOut = None,
) -> None:
    """Go the whole way once on this machine, on drawn faces or data of yours."""
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.kernel.live_display import KernelDisplay
    from fkd_kaggle.practice import rehearsal
    from fkd_kaggle.recipes import plans

    console = make_console()
    plan = plans.make_plan(recipe or ("smoke",), time_limit=options.duration(time_limit))
    if via is None and shards > 1:
        raise FkdError("--shards is for kernels: add --via kernel")
    display = TrainingDisplay(console) if via is None else KernelDisplay(console)
    with display:
        result = rehearsal.rehearse(
            plan, keep=keep, on_event=display, tell=lambda line: print_line(console, line),
            shards=None if via is None else shards,
            served=rehearsal.PracticeData(data, solution, hold_out),
        )  # fmt: skip
    console.print(tables.scores_table(result.scores))
    if result.leaderboard:
        console.print(tables.leaderboard_table(result.leaderboard, result.ours.team))
    print_line(console, result.verdict)
    if keep is not None:
        print_line(console, f"all of it is in {keep}")
    result.check()

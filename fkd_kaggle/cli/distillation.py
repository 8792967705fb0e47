"""The command ``distill``: one network taught by a run."""

from __future__ import annotations

from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import INTERRUPTED, make_console, print_line
from fkd_kaggle.formatting import format_pixels

RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME",
        autocompletion=options.complete_recipe,
        show_default="cascade-small, or as before",
        help="Recipe of the network.",
    ),
]

TimeLimit = Annotated[
    str | None,
    typer.Option(
        "--time-limit",
        "-t",
        metavar="TIME",
        show_default="10m, or as before",
        help="Total training time: 90s, 20m or 1.5h.",
    ),
]

TestFaces = Annotated[
    bool | None,
    typer.Option(
        "--test-faces/--no-test-faces",
        show_default="test-faces, or as before",
        help="Whether to train on the run's predictions for the test faces.",
    ),
]


def distill(
    run: options.RunArgument = None,
    recipe: RecipeOption = None,
    time_limit: TimeLimit = None,
    epochs: options.Epochs = None,
    test_faces: TestFaces = None,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Train one small network on the predictions of a run.

    The result is a run of its own, RUN-distilled, for every command; `export --distilled` exports
    it. Ctrl-C keeps the trained epochs, and the same command continues.
    """
    from fkd_kaggle.display import tables
    from fkd_kaggle.display.training import TrainingDisplay
    from fkd_kaggle.ensemble import distillation
    from fkd_kaggle.runs.folder import find_run
    from fkd_kaggle.runs.members import is_finished

    console = make_console()
    teacher = find_run(run, runs_dir)
    argument = options.run_argument(teacher.path, data_dir)
    limit = options.parse_duration(time_limit)
    student = distillation.open_or_start(
        teacher,
        recipe,
        epochs=epochs,
        time_limit=limit or distillation.TIME_LIMIT,
        test_faces=test_faces,
    )
    if limit is not None and is_finished(student, student.plan.members[0]):
        print_line(
            console,
            f"run {student.name} is trained already: delete {student.path} to train it again with "
            "another time limit",
        )
    try:
        with TrainingDisplay(console) as display:
            scores = distillation.train_distilled(
                student,
                teacher,
                data_dir,
                time_limit=limit,
                on_event=display,
                on_progress=lambda step: print_line(console, f"{step}…"),
            )
    except KeyboardInterrupt:
        print_line(console, f"interrupted; to continue: fkd-kaggle distill {argument}")
        raise typer.Exit(INTERRUPTED) from None
    console.print(tables.scores_table(scores))
    mine, theirs = distillation.compare_on_fold(student, teacher, data_dir)
    if mine is not None and theirs is not None:
        print_line(
            console,
            f"on the held-out fold: {format_pixels(mine)} px, the run {teacher.name} "
            f"{format_pixels(theirs)} px ({100 * (mine / theirs - 1):+.1f} %)",
        )
    print_line(console, f"next: fkd-kaggle export {argument} --distilled")

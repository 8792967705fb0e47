"""The command line: options in, one room called, its result printed. No logic of its own.

Nothing heavy is imported until a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Annotated

import typer

from fkd_kaggle.cli import data, kernel, photos, practice, runs, submissions, training
from fkd_kaggle.display.console import INTERRUPTED
from fkd_kaggle.errors import FkdError
from fkd_kaggle.settings import __version__

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

app = typer.Typer(
    name="fkd-kaggle",
    help="Win Kaggle's Facial Keypoints Detection from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich help takes 0.3 s to import, three times as long as everything else together.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for command in (
    data.fetch,
    data.explore,
    training.train_ensemble,
    training.compare,
    submissions.submit,
    submissions.predict,
    submissions.submissions,
    submissions.leaderboard,
    practice.practice,
    practice.rehearse,
    runs.recipes,
    runs.runs,
):
    app.command()(command)
photos.add_commands(app)
app.add_typer(kernel.app)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fkd-kaggle {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2, never a traceback."""
    # TensorFlow's start-up chatter is for its developers; set before anything imports it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Whoever ends a training by SIGTERM (a batch system, docker stop) gets what Ctrl-C gives.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except FkdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # A disk or a folder that says no is no bug of ours; what names no file may be one.
        if error.filename is None and error.errno not in _DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        sys.exit(FkdError.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        raise

"""The command ``fkd-kaggle``: registers all commands and turns errors into messages.

Nothing heavy is imported until a command runs, so that ``--help`` is instant. The commands parse
options, call one function of another package and print its result.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TextIO

import typer

from fkd_kaggle import user_code
from fkd_kaggle.cli import data, kernel, photos, practice, runs, submissions, training
from fkd_kaggle.display.console import INTERRUPTED
from fkd_kaggle.errors import FkdError, RenamedWarning
from fkd_kaggle.settings import __version__

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

app = typer.Typer(
    name="fkd-kaggle",
    help="Win Kaggle's Facial Keypoints Detection from the command line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Importing rich for help texts takes 0.3 s, three times as long as all other imports.
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
    photos.evaluate,
    photos.annotate,
    photos.train_photos,
):
    app.command()(command)
app.add_typer(kernel.app)


@app.callback(invoke_without_command=True)
def _print_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Execute Python code that comes with a run (allowed after any command too).",
        ),
    ] = False,
) -> None:
    if trust_code:
        user_code.trust_all()
    if version:
        typer.echo(f"fkd-kaggle {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line.

    An error that the user can correct is printed as one line, with exit code 2. Ctrl-C and SIGTERM
    give exit code 130. Other exceptions are bugs and keep their traceback.
    """
    # TensorFlow reads these variables when it is imported. Level 3 hides its start-up messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Batch systems and `docker stop` send SIGTERM; handle it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _deprecations_as_notes():
            app(_with_global_options_first(sys.argv[1:]))
    except FkdError as error:
        _exit_with_error(str(error), error.exit_code)
    except OSError as error:
        # An error of the disk, or one about a file, is the user's; any other may be a bug.
        if error.filename is None and error.errno not in _DISK_ERRORS:
            raise
        name = f"{error.filename}: " if error.filename else ""
        _exit_with_error(f"{name}{error.strerror}", FkdError.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        raise


def _with_global_options_first(arguments: list[str]) -> list[str]:
    """Move options of all commands to the front, where Typer expects them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    moved = [option for option in ("--trust-code",) if option in arguments[:end]]
    return moved + [word for at, word in enumerate(arguments) if at >= end or word not in moved]


def _exit_with_error(message: str, code: int) -> None:
    """Print a message on stderr and exit."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def _deprecations_as_notes() -> Iterator[None]:
    """Print each warning about a deprecated name once, as one line on stderr."""
    with warnings.catch_warnings():
        show_other = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, RenamedWarning):
                print(f"note: {message}", file=sys.stderr)
            else:
                show_other(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.simplefilter("once", RenamedWarning)
        yield

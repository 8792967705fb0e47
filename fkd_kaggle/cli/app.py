"""The command ``fkd-kaggle``: registers all commands and turns errors into messages.

Nothing heavy is imported until a command runs, so that ``--help`` is instant. The commands parse
options, call one function of another package and print its result.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from fkd_kaggle import user_code
from fkd_kaggle.cli import (
    annotation,
    cluster,
    comparison,
    crash_report,
    data,
    demo,
    distillation,
    doctor,
    examples,
    export,
    finalizers,
    kernel,
    options,
    photos,
    practice,
    report,
    runs,
    submissions,
    training,
)
from fkd_kaggle.cli.quiet import with_quiet
from fkd_kaggle.display import streams
from fkd_kaggle.display.console import INTERRUPTED
from fkd_kaggle.errors import FkdError, NoteWarning, explain_os_error, redact
from fkd_kaggle.formatting import escape_text, one_line
from fkd_kaggle.nn import keras_settings
from fkd_kaggle.settings import DEBUG, __version__

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


_LONG_COMMANDS = (
    data.fetch,
    data.explore,
    training.train_ensemble,
    comparison.compare,
    submissions.submit,
    submissions.predict,
    practice.rehearse,
    photos.evaluate,
    annotation.annotate,
    photos.train_photos,
    distillation.distill,
    export.export,
)
"""Commands that get the option ``--quiet``."""


class _CommandFailedError(Exception):
    """Carries an exception past Typer, as its cause."""


class _Commands(TyperGroup):
    """The group of all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Typer takes an EOFError for Ctrl-D, and EPIPE for a closed stdout."""
        try:
            return super().invoke(ctx)
        except (EOFError, BrokenPipeError) as error:
            raise _CommandFailedError from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; Typer suggests similar names, not ``train-ensemble`` for ``train``."""
        longer = [name for name in self.commands if name.startswith(f"{args[0]}-")]
        if longer and args[0] not in self.commands and not ctx.resilient_parsing:
            names = " or ".join(map(repr, longer))
            ctx.fail(f"No such command {args[0]!r}. Did you mean {names}?")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fkd-kaggle",
    cls=_Commands,
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
    comparison.compare,
    report.report,
    cluster.gather,
    submissions.submit,
    submissions.predict,
    submissions.submissions,
    submissions.leaderboard,
    practice.practice,
    practice.rehearse,
    runs.recipes,
    photos.evaluate,
    annotation.annotate,
    distillation.distill,
    export.export,
    demo.demo,
    photos.train_photos,
    doctor.doctor,
):
    app.command()(with_quiet(command) if command in _LONG_COMMANDS else command)
app.add_typer(runs.app)
app.add_typer(kernel.app)
examples.add_examples(app)


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
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Print the traceback of an error (allowed after any command too)."
        ),
    ] = False,
) -> None:
    if trust_code:
        user_code.trust_all()
    if debug:
        os.environ[DEBUG] = "1"  # workers inherit it
    if version:
        typer.echo(f"fkd-kaggle {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit.

    Every error is one line on stderr. An error that the user can correct gives exit code 2, as do
    wrong options. An unforeseen exception gives exit code 1 and a crash report, see
    ``crash_report``. Ctrl-C and SIGTERM give exit code 130.
    """
    options.start_clock()
    finalizers.quiet_at_exit()
    # Batch systems and `docker stop` send SIGTERM; handle it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with streams.protected_streams() as failures:
        try:
            with _redacted_logs(), _warnings_as_notes():
                keras_settings.prepare()
                keras_settings.claim_process()
                code = _run_command(_with_global_options_first(sys.argv[1:]))
        except SystemExit as end:
            code = _exit_code(end)
        except BaseException as error:
            code = _print_error(error)
        if code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        if failures.error is not None and code == 0:
            reason = failures.error.strerror
            _print_line(f"error: the output cannot be written ({reason}); results are kept")
            code = 1
    sys.exit(code)


def _run_command(arguments: list[str]) -> int:
    """Run the command that the arguments name, and return its exit code."""
    # Typer's standalone mode reports its own errors in several lines.
    returned = app(arguments, standalone_mode=False)
    return returned if isinstance(returned, int) else 0


def _with_global_options_first(arguments: list[str]) -> list[str]:
    """Move options of all commands to the front, where Typer expects them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    moved = [option for option in ("--trust-code", "--debug") if option in arguments[:end]]
    return moved + [word for at, word in enumerate(arguments) if at >= end or word not in moved]


def _exit_code(end: SystemExit) -> int:
    """Return the exit code of a SystemExit, whose code can be a message or None."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    _print_line(f"error: {end.code}")
    return 1


def _print_error(error: BaseException) -> int:
    """Print one line about an exception and return the exit code."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):  # Abort: Ctrl-C or Ctrl-D at a question
        return INTERRUPTED
    if type(error).__name__ == "NoArgsIsHelpError":  # Typer's: a command group without a command
        typer.echo(error.ctx.get_help(), err=True)  # type: ignore[attr-defined]
        return FkdError.exit_code
    if isinstance(error, _CommandFailedError):
        error = error.__cause__ or error
    message, code = _explain(error)
    if code is None:
        path = crash_report.write(error)
        details = f"details for a bug report: {path}" if path else "run again with --debug"
        message, code = f"{crash_report.describe(error)} ({details})", 1
    if os.environ.get(DEBUG):
        print(crash_report.render(error), file=sys.stderr)
    _print_line(f"error: {message}")
    return code


def _explain(error: BaseException) -> tuple[str, int | None]:
    """Return message and exit code of an exception; the code is None if it is unforeseen."""
    if isinstance(error, FkdError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # an error of Typer about options and arguments
        return _explain_usage(error), FkdError.exit_code
    # An error of the disk, or one about a file, is the user's; any other may be a bug.
    if isinstance(error, OSError) and (error.filename or error.errno in _DISK_ERRORS):
        return explain_os_error(error), FkdError.exit_code
    return "", None


def _explain_usage(error: Any) -> str:
    """Return one line about wrong options or arguments, with the command that lists them."""
    message = str(error.format_message()).strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} (see `{context.command_path} --help`)"


def _print_line(line: str) -> None:
    """Print one line on stderr, without secrets and control characters."""
    print(one_line(redact(line)), file=sys.stderr)


@contextmanager
def _redacted_logs() -> Iterator[None]:
    """Redact the log records that libraries print on stderr, and exceptions of threads."""

    class RedactingFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return escape_text(redact(super().format(record)))

    def report_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and arguments.exc_type is not SystemExit:
            path = crash_report.write(arguments.exc_value)
            _print_line(f"note: {crash_report.describe(arguments.exc_value)} (details: {path})")

    handler, hook = logging.lastResort, threading.excepthook
    before = handler.formatter if handler is not None else None
    if handler is not None:
        handler.setFormatter(RedactingFormatter())
    threading.excepthook = report_thread
    try:
        yield
    finally:
        threading.excepthook = hook
        if handler is not None:
            handler.setFormatter(before)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print each note and each warning of a library once, as one line on stderr."""
    with warnings.catch_warnings():

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            is_note = issubclass(category, NoteWarning)
            _print_line(f"note: {message}" if is_note else f"warning: {message}")

        warnings.showwarning = show
        warnings.simplefilter("once", NoteWarning)
        yield

"""The option ``--quiet`` of commands that take long."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fkd_kaggle.display.console import silence_output

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and notes only; the rest is silent.")
]


def with_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the option ``--quiet``, which silences the consoles of the command."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        with silence_output(values.pop("quiet")):
            command(**values)

    signature = inspect.signature(command, eval_str=True, locals=_unimported(command))
    option = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet
    )
    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()
    ]
    run.__signature__ = inspect.Signature([*own, option])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, option)}
    return run


def _unimported(command: Callable[..., None]) -> dict[str, Any]:
    """Return names in a command's annotations that are imported for type checking only."""
    # A decorated command has its own signature and no such names.
    return {} if hasattr(command, "__signature__") else {"TrainingOptions": object}

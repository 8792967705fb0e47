"""A rich console for untrusted text: no markup, no emoji codes, control characters as escapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from fkd_kaggle.formatting import escape_text


class PlainConsole(Console):
    """A console on which a text cannot do more than be shown.

    Parameters
    ----------
    width
        Columns; None for the width of the terminal.
    stderr
        Print on standard error.
    quiet
        Print nothing.
    """

    def __init__(
        self, width: int | None = None, *, stderr: bool = False, quiet: bool = False
    ) -> None:
        super().__init__(width=width, stderr=stderr, markup=False, emoji=False, quiet=quiet)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object; control characters in its text become escapes."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else escape_text(segment.text)
            yield segment if text == segment.text else segment._replace(text=text)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a string as text; escaped before it is measured, so that nothing is cut off."""
        return super().render_str(escape_text(text), **settings)

    def status(self, status: RenderableType, **settings: Any) -> Status:
        """Return a status line; a string is shown as it is."""
        return _PlainStatus(_as_text(status), console=self, **settings)


class _PlainStatus(Status):
    """A status line whose updates interpret no markup; rich's own spinner interprets it."""

    def update(self, status: RenderableType | None = None, **settings: Any) -> None:
        super().update(None if status is None else _as_text(status), **settings)


def _as_text(status: RenderableType) -> RenderableType:
    return Text(status) if isinstance(status, str) else status

"""A live view: redraws a display on a terminal while a command runs.

Does not know what it draws. Elsewhere (a log, a pipe) it draws nothing, and displays print lines.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.live import Live


class LiveView:
    """Redraw a display four times a second, if the console is a terminal.

    Parameters
    ----------
    console
        Where to draw.
    content
        What to draw: an object with a method ``__rich__``, which returns its current state.
    """

    def __init__(self, console: Console, content: RenderableType) -> None:
        is_terminal = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(content, console=console, refresh_per_second=4) if is_terminal else None

    @property
    def is_live(self) -> bool:
        """Whether the console is a terminal on which the display is redrawn."""
        return self._live is not None

    def start(self) -> None:
        """Start to draw."""
        if self._live:
            self._live.start()

    def stop(self, *, erase: bool = False) -> None:
        """Stop drawing and restore the terminal; a second call has no effect.

        Parameters
        ----------
        erase
            Remove the display from the terminal instead of leaving its last state there.
        """
        if self._live:
            self._live.transient = erase
            self._live.stop()

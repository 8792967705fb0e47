"""A live view on a terminal, and the terminal left in order whatever happens."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live


class LiveView:
    """What displays have in common: begin drawing themselves, and end.

    Parameters
    ----------
    console
        Where to show it; live when it is a terminal, else plain lines without control codes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        on_terminal = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self, console=console, refresh_per_second=4) if on_terminal else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been shown yet."""
        raise NotImplementedError

    def __rich__(self) -> RenderableType:
        """Return the view as of now; rich asks four times a second."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            # What never began leaves no trace above the error.
            self._live.transient = self.is_empty
            self._live.stop()

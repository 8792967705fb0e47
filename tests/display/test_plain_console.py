"""The console for untrusted text."""

from __future__ import annotations

import pytest
from rich.text import Text

from fkd_kaggle.display.plain_console import PlainConsole

HOSTILE = "[/bold] [red]x :smile: \x1b]0;title\x07 \x1b[2J \u202egnp.exe \udcff"


@pytest.mark.parametrize("content", [HOSTILE, Text(HOSTILE)])
def test_text_is_shown_and_not_interpreted(
    content: str | Text, capsys: pytest.CaptureFixture[str]
) -> None:
    PlainConsole(200).print(content)
    out = capsys.readouterr().out
    assert "[/bold] [red]x :smile:" in out
    assert "\\x1b]0;title" in out
    assert "\\u202egnp.exe \\udcff" in out
    assert "\x1b" not in out


def test_status_interprets_no_markup() -> None:
    console = PlainConsole(200)
    with console.status(HOSTILE) as status:
        status.update(HOSTILE)
        assert "[/bold] [red]x :smile:" in str(status.renderable.text)

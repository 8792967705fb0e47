"""Fills in pages when the site is built: the help of all commands, and files outside ``docs/``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

COMMANDS = "<!-- commands -->"

INCLUDE = re.compile(r"<!-- include (\S+) -->")

ROOT = Path(__file__).parents[2]

WIDTH = 84
"""Characters in a line of a help text; more do not fit the page."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the markers in a page; mkdocs calls this function."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, describe_commands())
    return INCLUDE.sub(lambda match: _include(match[1]), markdown)


def describe_commands() -> str:
    """Return a heading and the help text for the program, every group and every command."""
    from fkd_kaggle.cli.app import app

    root = typer.main.get_command(app)
    return "\n\n".join(_describe(root, ("fkd-kaggle",)))


def _include(name: str) -> str:
    """Return a Markdown file of the repository's root, with links that work within ``docs/``."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def _describe(command: Any, path: tuple[str, ...]) -> list[str]:
    """Return the section of a command, and of all commands of a group after the group's own."""
    context = type(command).context_class(
        command, info_name=" ".join(path), terminal_width=WIDTH, max_content_width=WIDTH
    )
    heading = " ".join(path[1:]) or path[0]
    commands = getattr(command, "commands", {})
    return [
        f"## {heading}\n\n```text\n{command.get_help(context)}\n```",
        *(
            section
            for name in sorted(commands)
            for section in _describe(commands[name], (*path, name))
        ),
    ]

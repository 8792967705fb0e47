"""Tests of the help texts: every command has examples, and the examples are valid."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer
from conftest import Command

from fkd_kaggle.cli.app import app
from fkd_kaggle.cli.examples import EXAMPLES

ROOT = typer.main.get_command(app)


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return all commands by their words, and groups that work without a subcommand."""
    found = {}
    children = getattr(command, "commands", {})
    if path and (not children or command.invoke_without_command):
        found[" ".join(path)] = command
    for name, child in children.items():
        found |= commands(child, (*path, name))
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_ends_with_examples(fkd: Command, name: str) -> None:
    out = fkd(*name.split(), "--help").out
    assert "  Examples:\n" in out
    examples = out.split("  Examples:\n")[1].splitlines()
    assert examples
    assert all(f"fkd-kaggle {name}" in example for example in examples)


def test_examples_belong_to_commands() -> None:
    assert set(EXAMPLES) <= set(commands())


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_parse(line: str) -> None:
    words = shlex.split(line.split(" | ")[0].split(" && ")[0].split(" > ")[0])
    assert words.pop(0) == "fkd-kaggle"
    command: Any = ROOT
    while (children := getattr(command, "commands", None)) and words and words[0] in children:
        command = children[words.pop(0)]
    context = command.make_context("fkd-kaggle", words, resilient_parsing=False)
    assert not context.args


@pytest.mark.parametrize("name", ["fetch", "train-ensemble", "submit", "annotate", "rehearse"])
def test_long_commands_can_be_quiet(fkd: Command, name: str) -> None:
    assert "-q, --quiet" in fkd(name, "--help").out

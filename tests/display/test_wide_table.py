"""Tests of tables that leave out columns on narrow terminals."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle.display.plain_console import PlainConsole
from fkd_kaggle.display.wide_table import Column, WideTable

NAMES = st.text("abcXYZ019-_.äß", min_size=1, max_size=20)


def table(name: str = "standard-12") -> WideTable:
    result = WideTable(
        [
            Column("run"),
            Column("state", 2),
            Column("score", 1, right=True),
            Column("description", 3, wraps=20),
        ]
    )
    result.add_row(name, "time limit", "1.083", "words " * 30)
    return result


def printed(wide: WideTable, width: int) -> list[str]:
    console = PlainConsole(width)
    with console.capture() as capture:
        console.print(wide)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_lines_fit_and_names_are_whole(width: int) -> None:
    lines = printed(table(), width)
    assert max(map(len, lines)) <= width
    assert any("standard-12" in line for line in lines)
    assert not any("…" in line for line in lines)


def test_the_least_important_columns_are_left_out_first() -> None:
    assert table().dropped(200) == []
    assert table().dropped(40) == ["description"]
    assert table().dropped(22) == ["state", "description"]
    assert table().dropped(12) == ["state", "score", "description"]


@given(NAMES, st.integers(30, 200))
def test_a_name_is_printed_on_one_line_if_it_fits(name: str, width: int) -> None:
    assert any(name in line for line in printed(table(name), width))


def test_the_csv_has_all_columns(tmp_path: Path) -> None:
    table().write_csv(tmp_path / "table.csv")
    header, row = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "run,state,score,description"
    assert row.startswith("standard-12,time limit,1.083,words")

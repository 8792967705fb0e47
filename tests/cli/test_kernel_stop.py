"""The command ``kernel stop`` for a run of several kernels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fkd_kaggle.cli import connection, kernel
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kernel import records


def test_every_kernel_that_may_run_is_stopped_or_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    states = {"a": "pushed", "b": "collected", "c": "pushed", "d": "pushed"}
    found = [SimpleNamespace(kernel=name, state=state) for name, state in states.items()]

    def stop(name: str) -> None:
        if name != "c":
            raise CompetitionError(f"open the page of {name}")

    monkeypatch.setattr(records, "find_records", lambda *_, **__: found)
    monkeypatch.setattr(
        connection, "connect_competition", lambda _: SimpleNamespace(kernel_stop=stop)
    )
    with pytest.raises(CompetitionError, match="open the page of d"):
        kernel.stop(None, tmp_path)
    assert capsys.readouterr().out.splitlines() == ["stopped c", "open the page of a"]

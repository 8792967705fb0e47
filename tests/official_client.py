"""The official client against a practice Kaggle: helpers of the tests in tests/practice."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from fkd_kaggle.practice.dataset import SLUG

Connect = Callable[..., Any]
"""A function that returns the official client, connected to a practice Kaggle as a user."""


def refusal(call: Callable[[], Any]) -> requests.HTTPError:
    """Return the HTTP error that a call of the client ends in."""
    with pytest.raises(requests.HTTPError) as caught:
        call()
    return caught.value


def write_submission(path: Path, rows: dict[int, float]) -> Path:
    """Write a submission file."""
    path.write_text("RowId,Location\n" + "".join(f"{row},{x}\n" for row, x in rows.items()))
    return path


def read_solution(solution: Path) -> dict[int, float]:
    """Read a solution file without the code under test."""
    lines = solution.read_text().split()[1:]
    return {int(row): float(value) for row, value in (line.split(",") for line in lines)}


def download(api: Any, folder: Path) -> dict[str, bytes]:
    """Download everything as one zip; return the plain CSVs in it."""
    api.competition_download_files(SLUG, path=str(folder))
    content = {}
    with zipfile.ZipFile(folder / f"{SLUG}.zip") as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(data)) as inner:
                    (name,) = inner.namelist()
                    data = inner.read(name)
            content[name] = data
    return content

"""The command ``export`` without networks: its text, and which run and folder it names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.export import folder
from fkd_kaggle.export.check import Check
from fkd_kaggle.export.folder import ExportResult
from fkd_kaggle.export.formats import FORMATS
from fkd_kaggle.export.model_card import model_card
from fkd_kaggle.keypoints import COMPLETE
from fkd_kaggle.runs.folder import Run

OLD_RUN = Path(__file__).parents[1] / "data/old_run/runs/old_run"

CHECK = Check(0.001, 0.0, 128, 2_000_000, 1.0, 0.5, 1, 0.1, 100, "onnxruntime")


@pytest.fixture
def trained(fkd: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run ``runs/old_run``, whose export writes nothing."""

    def export_run(run: Run, target: Path, format_name: str, **_: Any) -> ExportResult:
        return ExportResult(target, target / "model.onnx", 1, CHECK)

    monkeypatch.setattr(folder, "export_run", export_run)
    shutil.copytree(OLD_RUN, "runs/old_run")
    return Path("runs/old_run")


def test_the_exported_run_is_named_if_the_user_named_none(fkd: Command, trained: Path) -> None:
    result = fkd("export", "--output", "model")
    assert result.code == 0, result.all
    assert "run old_run, the newest with a trained network" in result.out
    assert "model.onnx: 1 network, 2.0 MB" in " ".join(result.out.split())
    assert "the newest" not in fkd("export", "old_run", "--output", "model").out


def test_an_existing_folder_is_refused_with_the_options(fkd: Command, trained: Path) -> None:
    Path("exports/old_run-onnx-partial").mkdir(parents=True)
    result = fkd("export", "old_run", "--annotator", "partial")
    assert_one_line_error(result, "exports/old_run-onnx-partial exists", "--force", "--output")
    assert fkd("export", "old_run", "--annotator", "partial", "--force").code == 0


def test_the_help_promises_what_every_format_keeps(fkd: Command) -> None:
    words = " ".join(fkd("export", "--help").out.replace("│", " ").split())
    assert "onnx, litert and openvino do not need TensorFlow" in words
    assert "all networks" not in words
    assert "the 15 points follow" in words
    assert "ends with -partial" in words


def test_the_model_card_counts_the_exported_networks_and_their_recipes(trained: Path) -> None:
    run = Run.open(trained)
    ladder = [one for one in run.plan.members if one.recipe.name == "tiny-ladder"]
    for count, text in ((1, "Included: 1 network (recipes: tiny-ladder)"), (2, "2 networks")):
        card = model_card(run, FORMATS["onnx"], COMPLETE, CHECK, ladder[:count], None)
        assert text in card
        assert "tiny-heatmap" not in card

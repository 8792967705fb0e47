"""Tests of the export folder: the file needs its runtime only and is checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import FkdError
from fkd_kaggle.export import check
from fkd_kaggle.export.folder import export_run
from fkd_kaggle.export.formats import FORMATS, find_format
from fkd_kaggle.runs.folder import Run

pytestmark = pytest.mark.slow

MakeRun = Callable[..., Run]

TINY = "cascade:options.width=4,options.coarse_width=4,options.depth=1"


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the speed with few repetitions."""
    monkeypatch.setenv("FKD_EXPORT_REPEATS", "5")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "litert", "keras"])
def test_the_exported_file_runs_without_this_package(
    make_run: MakeRun, faces_dir: Path, tmp_path: Path, name: str
) -> None:
    run = make_run([TINY], "shape", folds=2)
    result = export_run(run, tmp_path / "out", name, data_dir=faces_dir)
    facts = json.loads((tmp_path / "out/check.json").read_text())
    assert facts["largest_difference"] < 0.001
    assert facts["bytes"] == check.size_of(tmp_path / "out", FORMATS[name].file)
    assert (facts["run"], facts["format"], facts["annotator"]) == ("tiny", name, "complete")
    assert result.networks == 2
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlicense: other\n")
    assert "crop search" in card
    images = dataset.read_training(faces_dir).images[:3]
    np.save(tmp_path / "faces.npy", images)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        # -I ignores this checkout; the example must not need it.
        [sys.executable, "-I", "out/example.py", "faces.npy"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    printed = np.array([[float(x), float(y)] for _, x, y in lines]).reshape(3, 15, 2)
    assert [name for name, *_ in lines[:2]] == ["left_eye_center", "right_eye_center"]
    expected = Predictor(run, precision="float32")(images)
    np.testing.assert_allclose(printed, expected, atol=0.011)


@pytest.mark.slow
def test_a_file_that_differs_is_not_kept(
    make_run: MakeRun, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(["heatmap-small:options.width=4,options.depth=1"], folds=2)
    monkeypatch.setattr(check, "LIMIT", -1.0)
    with pytest.raises(FkdError, match="differs from `predict`"):
        export_run(run, tmp_path / "out", "keras", data_dir=faces_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_an_earlier_export_is_replaced_only_on_request(
    make_run: MakeRun, faces_dir: Path, tmp_path: Path
) -> None:
    run = make_run(["heatmap-small:options.width=4,options.depth=1"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    for force, reason in ((False, "force=True"), (True, "contains other files")):
        with pytest.raises(FkdError, match=reason):
            export_run(run, tmp_path / "out", "keras", data_dir=faces_dir, force=force)
    assert (tmp_path / "out/thesis.tex").read_text() == "mine"


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkd_kaggle.export.formats.find_spec", lambda name: None)
    with pytest.raises(FkdError, match=r"pip install 'fkd-kaggle\[onnx\]'") as caught:
        find_format("onnx").check_installed()
    assert "--format" not in str(caught.value)
    with pytest.raises(FkdError, match="did you mean 'onnx'"):
        find_format("onxx")


def test_data_of_another_training_is_refused(
    make_run: MakeRun, competition_dir: Path, tmp_path: Path
) -> None:
    run = make_run(["heatmap-small:options.width=4,options.depth=1"])
    with pytest.raises(FkdError, match="name the folder of the data"):
        export_run(run, tmp_path / "out", "keras", data_dir=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--format", "tflite"), "unknown format"),
        (("--annotator", "both"), "unknown annotator"),
        (("--distilled",), "has no distilled network"),
        (("nothing",), "no run 'nothing'"),
    ],
)
def test_error_for_a_wrong_option_of_export_is_one_line(
    fkd: Command,
    make_run: MakeRun,
    faces_dir: Path,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    run = make_run(["heatmap-small:options.width=4,options.depth=1"])
    runs_dir, data = str(run.path.parent), str(faces_dir)
    result = fkd("export", *arguments, "--runs-dir", runs_dir, "--data-dir", data)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert reason in result.err

"""Kernels as notebooks: their cells, and an execution on the practice Kaggle."""

from __future__ import annotations

import base64
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests
from conftest import TINY_CNN, Command, run_kaggle

from fkd_kaggle.kernel import build, notebook
from fkd_kaggle.kernel.job import KernelTask, blend_task, shard_tasks
from fkd_kaggle.kernel.names import slug_for, title_for
from fkd_kaggle.kernel.push import script_digest
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.recipes import plans

TASK = KernelTask(
    plans.make_plan(plans.TrainingOptions(["standard"], time_limit=3600)), "standard-1"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.write_kernel(
        tmp_path_factory.mktemp("notebook"), TASK, owner="someone",
        slug=slug_for(TASK.run_name), title=title_for(slug_for(TASK.run_name)), notebook=True,
    )  # fmt: skip


def sources(text: str, kind: str) -> str:
    return "\n".join(c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == kind)


def test_the_folder_contains_a_valid_notebook_below_kaggles_limit(built: Path) -> None:
    metadata = json.loads((built / "kernel-metadata.json").read_text())
    assert metadata["kernel_type"] == "notebook"
    path = built / metadata["code_file"]
    assert path.suffix == ".ipynb"
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < 0.5 * build.MAX_SOURCE_BYTES
    assert {one.name for one in built.iterdir()} == {path.name, "kernel-metadata.json"}


def test_its_texts_say_what_is_trained_and_explain_every_step(built: Path) -> None:
    text = sources(build.read_script(built), "markdown")
    for words in (
        "train the ensemble standard", "Recipe", "1:00 h of training", "Licence: MIT",
        "source code", "## 1. Machine", "## 2. Data", "## 3. Training", "## 4. Scores",
        "expected on the", "## 5. Submission", "### Learning curves", "### Errors by keypoint",
        "### Predictions",
    ):  # fmt: skip
        assert words in text


def test_the_packed_code_is_one_hidden_cell(built: Path) -> None:
    cells = json.loads(build.read_script(built))["cells"]
    hidden = [cell for cell in cells if cell["metadata"].get("_kg_hide-input")]
    assert ["PACKAGE" in cell["source"] for cell in hidden] == [True]
    assert all(len(cell["source"]) < 400 for cell in cells if cell["cell_type"] == "code" and
               cell not in hidden)  # fmt: skip
    encoded = hidden[0]["source"].split('PACKAGE = """')[1].split('"""')[0]
    with zipfile.ZipFile(io.BytesIO(lzma.decompress(base64.b64decode(encoded)))) as package:
        assert "fkd_kaggle/LICENSE" in package.namelist()


def test_shards_submit_nothing_and_blends_train_nothing() -> None:
    shard = sources(notebook.make_notebook(shard_tasks(TASK, 2)[1]), "code")
    assert "kernel.train()" in shard
    assert "write_submission" not in shard
    blend = sources(notebook.make_notebook(blend_task(TASK, ["a/b", "a/c"])), "code")
    assert "kernel.blend()" in blend and "kernel.train()" not in blend
    assert "write_submission" in blend


def test_a_notebook_is_recognised_after_the_client_has_rewritten_it(built: Path) -> None:
    text = build.read_script(built)
    rewritten = json.loads(text)
    for cell in rewritten["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        cell["metadata"] = {}
    assert script_digest(json.dumps(rewritten)) == script_digest(text)
    rewritten["cells"][-1]["source"] = ["1 / 0"]
    assert script_digest(json.dumps(rewritten)) != script_digest(text)


def pictures(executed: dict[str, Any]) -> list[bytes]:
    """Return the PNG pictures among the outputs of a notebook."""
    outputs = [out for cell in executed["cells"] for out in cell.get("outputs", ())]
    found = [out["data"]["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    return [base64.b64decode(picture) for picture in found]


@pytest.mark.slow
def test_a_notebook_trains_and_shows_its_figures_on_the_practice_kaggle(
    fkd: Command, practice: PracticeKaggle, tmp_path: Path
) -> None:
    """Built by the command and pushed by the official client, as a user would."""
    Path("tiny.toml").write_text(TINY_CNN)
    options = ("-r", "tiny.toml", "--folds", "2", "--precision", "float32", "--run", "tiny-1")
    result = fkd("kernel", "build", *options, "--notebook", "--owner", "ada", "--accelerator",
                 "None")  # fmt: skip
    assert result.code == 0, result.all

    def kaggle(*arguments: str) -> str:
        return run_kaggle(practice.url, tmp_path, *arguments)

    folder = Path("kernel").resolve()
    assert "successfully pushed" in kaggle("kernels", "push", "-p", str(folder))
    (version,) = practice.kernels.versions.all()
    practice.kernels.wait(version, timeout=400)
    log = kaggle("kernels", "logs", "ada/fkd-tiny-1")
    assert "COMPLETE" in kaggle("kernels", "status", "ada/fkd-tiny-1"), log
    assert "[2/2] tiny-f1" in log and "expected on the leaderboard" in log
    out = tmp_path / "out"
    kaggle("kernels", "output", "ada/fkd-tiny-1", "-p", str(out))
    assert (out / "submission.csv").read_text().startswith("RowId,Location")
    assert (out / "tiny-1" / "curves.png").exists()
    url = f"{practice.url}/storage/notebooks/{version.session}.ipynb"
    executed = requests.get(url, timeout=10).json()
    shown = pictures(executed)
    assert len(shown) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in shown)
    texts = json.dumps(executed["cells"])
    assert "RMSE" in texts and "expected on the leaderboard" in texts


@pytest.mark.slow
def test_a_failing_cell_ends_the_notebook_with_its_cause(
    fkd: Command, practice: PracticeKaggle
) -> None:
    """The kernel has no competition's files among its inputs."""
    assert fkd("kernel", "build", "-r", "smoke", "--notebook", "--owner", "practice").code == 0
    metadata = json.loads(Path("kernel/kernel-metadata.json").read_text())
    metadata["competition_sources"] = []
    Path("kernel/kernel-metadata.json").write_text(json.dumps(metadata))
    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kernel import failures

    competition = Competition.open()
    pushed = competition.kernel_push(Path("kernel"))
    lines = [
        text
        for line in competition.kernel_logs(pushed.kernel, pushed.version, follow=True)
        for text in line.text.splitlines()
    ]
    status = competition.kernel_status(pushed.kernel)
    assert status.state == "error"
    line = failures.explain_failure(pushed.kernel, status, lines, "1 s")
    assert "no training.csv" in line and "\x1b" not in line

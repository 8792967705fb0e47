"""Damaged run folders: caches are rebuilt, other files give one line, other runs still work."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_versions import write_data
from conftest import Command, assert_one_line_error

from fkd_kaggle import pipeline
from fkd_kaggle.ensemble import prediction
from fkd_kaggle.errors import FkdError, NoteWarning, RunError
from fkd_kaggle.runs import history, members, predictions, reading
from fkd_kaggle.runs.comparison import list_comparisons
from fkd_kaggle.runs.folder import Run, list_runs, load_folds, read_folds
from fkd_kaggle.runs.photo_run import open_photo_run

OLD = Path(__file__).parents[1] / "data/old_run"

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "first bytes": lambda content: content[:7],
    "no end": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"not the file of this program\n",
    "JSON list": lambda content: b"[1, 2]",
    "JSON null": lambda content: b"null",
    "HTML": lambda content: b"<html></html>",
    "UTF-16": lambda content: "{}".encode("utf-16"),
    "deep": lambda content: b"[" * 100_000,
    "middle": lambda content: content[: len(content) // 2] + b"\xff" * 9 + content[-40:],
}


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A copy of the folder of old runs."""
    return shutil.copytree(OLD / "runs", tmp_path / "runs")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that the runs were trained on."""
    expected = json.loads((OLD / "data.json").read_text())
    folder = tmp_path_factory.mktemp("damaged") / "data"
    write_data(folder, expected["training"], expected["test"])
    return folder


def read_everything(run_path: Path) -> None:
    """Read every file of a run folder."""
    run = Run.open(run_path)
    _ = run.status, run.scores
    history.read_histories(run)
    for member in run.plan.members:
        folder = run.member_folder(member.name)
        members.read_progress(folder)
        members.is_finished(run, member)
        members.read_checkpoint(folder)
        members.read_member_metrics(run, member, "copies")
        predictions.has_out_of_fold(run, member, 40)
        assert predictions.load_test_predictions(run, member, "") is None
        if (folder / "history.csv").exists():
            history.read_history_rows(folder)
    read_folds(run_path)
    if predictions.has_blend(run):
        predictions.load_blend(run)
    predictions.has_blended_out_of_fold(run)


def files_of_a_run() -> list[str]:
    run = OLD / "runs/old_run"
    return sorted(
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.is_file() and path.suffix in (".json", ".npz", ".npy", ".csv")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", files_of_a_run())
def test_damaged_file_is_read_around_or_gives_one_line(runs_dir: Path, name: str) -> None:
    path = runs_dir / "old_run" / name
    content = path.read_bytes()
    for damage in DAMAGES.values():
        path.write_bytes(damage(content))
        try:
            read_everything(runs_dir / "old_run")
        except RunError as error:
            assert name in ("run.json", "folds.npy")
            assert name in str(error)
            assert "\n" not in str(error)
            assert "restore" in str(error)


@pytest.mark.slow
def test_every_flipped_byte_is_read_around_or_gives_one_line(runs_dir: Path) -> None:
    generator = random.Random(20)
    for name in files_of_a_run():
        path = runs_dir / "old_run" / name
        content = path.read_bytes()
        for _ in range(6):
            changed = bytearray(content)
            changed[generator.randrange(len(changed))] = generator.randrange(256)
            path.write_bytes(changed)
            try:
                read_everything(runs_dir / "old_run")
            except RunError as error:
                assert "\n" not in str(error)
        path.write_bytes(content)


WRONG: tuple[Any, ...] = (
    None,
    5,
    -1,
    1e99,
    True,
    "x",
    "../x",
    "a/b",
    "nul\0",
    [],
    [1],
    {},
    {"a": 1},
)


@pytest.mark.slow
def test_every_wrong_value_in_run_json_gives_one_line(runs_dir: Path) -> None:
    path = runs_dir / "old_run" / "run.json"
    info = json.loads(path.read_text())
    opened = 0
    for place in list(_places(info)):
        for value in WRONG:
            changed = json.loads(json.dumps(info))
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            path.write_text(json.dumps(changed))
            try:
                run = Run.open(path.parent)
                _ = run.status, run.scores
                names = [member.name for member in run.plan.members]
            except RunError as error:
                assert "\n" not in str(error)
            else:
                opened += 1
                assert all(
                    run.member_folder(name).parent == path.parent / "members" for name in names
                )
    assert opened > 0


def _places(value: Any, place: tuple[Any, ...] = ()) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*place, key))


@pytest.mark.parametrize("name", ["../../outside", "/tmp/x", "..", ".hidden", "a\\b", "c:x", ""])
def test_names_that_leave_the_folder_are_refused(runs_dir: Path, name: str) -> None:
    path = runs_dir / "old_run" / "run.json"
    info = json.loads(path.read_text())
    info["plan"]["ensemble"]["members"][0]["recipe"]["name"] = name
    path.write_text(json.dumps(info))
    with pytest.raises(RunError, match=r"run\.json"):
        Run.open(path.parent)


def test_one_damaged_folder_is_noted_and_breaks_nothing(runs_dir: Path, fkd: Command) -> None:
    for number, content in enumerate((b"", b"[]", b"{}", b"\xff\xfe", b"[" * 9999)):
        (runs_dir / f"bad-{number}").mkdir()
        (runs_dir / f"bad-{number}" / "run.json").write_bytes(content)
        (runs_dir / f"bad-{number}" / "compare.json").write_bytes(content)
    (runs_dir / "folder-bad" / "run.json").mkdir(parents=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [run.name for run in list_runs(runs_dir)] == ["old_run"]
        assert [one.name for one in list_comparisons(runs_dir)] == ["old_compare"]
    assert sum(one.category is NoteWarning for one in caught) >= 11
    result = fkd("runs", "--runs-dir", runs_dir)
    assert result.code == 0
    assert "old_run" in result.out
    assert "bad-1" in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_damaged_caches_are_rebuilt(runs_dir: Path, data: Path, tmp_path: Path) -> None:
    run = Run.open(runs_dir / "old_run")
    for path in (run.path / "blend.npz", run.path / "out_of_fold.npz"):
        path.write_bytes(path.read_bytes()[:100])
    for path in run.path.glob("members/*/*.npz"):
        path.write_bytes(b"" if path.name == "test.npz" else path.read_bytes()[:-9])
    written = pipeline.write_run_submission(run, data, tmp_path / "submissions")
    assert written.is_file()
    assert predictions.has_blend(run)
    assert predictions.has_blended_out_of_fold(run)


@pytest.mark.slow
def test_damaged_weights_are_named_and_left_out_only_after_deletion(
    runs_dir: Path, data: Path, tmp_path: Path
) -> None:
    run = Run.open(runs_dir / "old_run")
    usable = [member for member in run.plan.members if members.is_usable(run, member)]
    assert len(usable) > 1
    # As this version stores it; the stored one names no members.
    blend = prediction.load_run_blend(run, usable)
    predictions.store_blend(run, blend.recipes, blend.arrays())
    folder = run.member_folder(usable[0].name)
    (folder / "test.npz").unlink(missing_ok=True)
    weights = members.weights_path(folder)
    for damage in ("no end", "middle", "zeros", "empty"):
        weights.write_bytes(DAMAGES[damage](weights.read_bytes()))
        with pytest.raises(RunError) as caught:
            pipeline.write_run_submission(run, data, tmp_path / "submissions")
        for word in (str(weights), f"delete {folder}", "--resume old_run", "expected score"):
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "submissions").exists()
    shutil.rmtree(folder)
    assert pipeline.write_run_submission(run, data, tmp_path / "submissions").is_file()
    _, arrays = predictions.load_blend(run)
    blended = {str(name) for key in ("members", "excluded") for name in arrays[key]}
    assert blended == {member.name for member in usable[1:]}


def test_the_only_run_is_named_if_it_is_damaged(runs_dir: Path, fkd: Command) -> None:
    (runs_dir / "old_run" / "run.json").write_text("{")
    result = fkd("predict", "--runs-dir", runs_dir)
    assert_one_line_error(result, "run.json is damaged", "restore")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.json", "blend.npz", "folds.npy"])
def test_pipe_in_a_run_folder_is_no_file(runs_dir: Path, name: str) -> None:
    path = runs_dir / "old_run" / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="it is no file"):
        {".json": reading.read_json_object, ".npz": reading.read_arrays}.get(
            path.suffix, lambda path: reading.read_array(path, (None,))
        )(path)


@pytest.mark.parametrize(
    "arguments",
    [("runs",), ("runs", "prune", "--yes"), ("runs", "delete", "x"), ("report", "x"), ("report",)],
)
def test_file_instead_of_the_folder_of_runs_is_named(
    fkd: Command, arguments: tuple[str, ...]
) -> None:
    Path("file").write_text("no folder")
    result = fkd(*arguments, "--runs-dir", "file")
    assert_one_line_error(result, "file is a file, not a folder of runs", "--runs-dir")


def test_lost_progress_of_a_finished_member_is_no_reason_to_train_again(runs_dir: Path) -> None:
    run = Run.open(runs_dir / "old_run")
    finished = [member for member in run.plan.members if members.is_finished(run, member)]
    assert finished
    for member in finished:
        (run.member_folder(member.name) / "progress.json").write_text("{")
        assert members.is_finished(run, member)


def test_folds_of_another_data_set_are_named(runs_dir: Path, data: Path) -> None:
    from fkd_kaggle.data import dataset

    run = Run.open(runs_dir / "old_run")
    np.save(run.path / "folds.npy", np.zeros(3, np.int64))
    with pytest.raises(RunError, match=r"folds\.npy is of 3 faces"):
        load_folds(run, dataset.read_training(data))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"points": 5, "flip": null, "recipe": {}}'])
def test_damaged_photo_run_gives_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "photo_run.json").write_text(content)
    with pytest.raises(FkdError, match=r"photo_run\.json is damaged"):
        open_photo_run(tmp_path)

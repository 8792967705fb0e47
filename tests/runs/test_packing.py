"""Tests of packed runs: what is packed, and what unpacking refuses."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Command, assert_one_line_error

from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.packing import MANIFEST, pack_run, unpack_run

OLD_RUN = Path(__file__).parents[1] / "data" / "old_run" / "runs" / "old_run"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A copy of a run folder, with files that are not packed."""
    folder = tmp_path / "runs" / "old_run"
    shutil.copytree(OLD_RUN, folder)
    member = next((folder / "members").iterdir())
    (member / "checkpoint.npz").write_bytes(b"large")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").write_bytes(b"log")
    (folder / "faces").mkdir()
    (folder / "faces" / "images.npy").write_bytes(b"faces")
    (folder / ".tmp-1").write_bytes(b"unfinished")
    return Run.open(folder)


@pytest.fixture
def packed(run: Run, tmp_path: Path) -> Path:
    """The packed run."""
    return pack_run(run, tmp_path)


def change(packed: Path, changes: dict[str, bytes | None], manifest: dict[str, object]) -> Path:
    """Return a copy of a packed run with other files; None removes a file."""
    target = packed.with_name("changed.zip")
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(target, "w") as output:
        content = {name: source.read(name) for name in source.namelist()}
        listed = json.loads(content[MANIFEST]) | manifest
        content[MANIFEST] = json.dumps(listed).encode()
        for name, value in (content | changes).items():
            if value is not None:
                output.writestr(name, value)
    return target


def test_unpacked_run_has_the_same_files(run: Run, packed: Path, tmp_path: Path) -> None:
    assert packed.name == "old_run.fkdrun.zip"
    unpacked = unpack_run(packed, tmp_path / "other")
    assert unpacked.scores == run.scores
    left_out = ("checkpoint.npz", "tensorboard", "faces", ".tmp-1")
    for path in run.path.rglob("*"):
        relative = path.relative_to(run.path)
        kept = not any(part in left_out for part in relative.parts)
        assert (unpacked.path / relative).exists() == kept, relative
        if kept and path.is_file():
            assert (unpacked.path / relative).read_bytes() == path.read_bytes()


def test_equal_runs_give_equal_files(run: Run, packed: Path, tmp_path: Path) -> None:
    assert pack_run(run, tmp_path / "again.zip").read_bytes() == packed.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/tmp/evil",
        "a/../../b",
        "a\\..\\b",
        "C:/evil",
        "a//b",
        ".",
        "a/./b",
        "a/",
    ],
)
def test_paths_out_of_the_folder_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(packed) as archive:
        listed = json.loads(archive.read(MANIFEST))["files"]
    listed[name] = {"size": 4, "sha256": "0" * 64}
    bad = change(packed, {name: b"evil"}, {"files": listed})
    with pytest.raises(RunError, match="refused"):
        unpack_run(bad, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.rglob("evil*"))


def test_run_of_a_recipe_with_any_name_is_unpacked(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    line = plan.ensemble.members[0]
    line = replace(line, recipe=replace(line.recipe, name="ünet (2), it's"))
    run = Run.create(
        tmp_path, "own", replace(plan, ensemble=replace(plan.ensemble, members=(line,))), "0" * 32
    )
    unpacked = unpack_run(pack_run(run, tmp_path), tmp_path / "other")
    assert (unpacked.path / "recipes" / "ünet (2), it's.toml").exists()


def test_name_of_a_packed_run_cannot_be_a_path(packed: Path, tmp_path: Path) -> None:
    bad = change(packed, {}, {"name": "../evil"})
    with pytest.raises(RunError, match="cannot name a folder"):
        unpack_run(bad, tmp_path / "other")


def test_changed_file_is_refused(packed: Path, tmp_path: Path) -> None:
    bad = change(packed, {"folds.npy": b"other"}, {})
    with pytest.raises(RunError, match=r"folds\.npy differs from its checksum"):
        unpack_run(bad, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_larger_file_than_listed_is_refused(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        content = archive.read("folds.npy")
    bad = change(packed, {"folds.npy": content + bytes(10**6)}, {})
    with pytest.raises(RunError, match="differs"):
        unpack_run(bad, tmp_path / "other")


def test_missing_file_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"folds\.npy is missing"):
        unpack_run(change(packed, {"folds.npy": None}, {}), tmp_path / "other")


def test_unlisted_files_are_not_unpacked(packed: Path, tmp_path: Path) -> None:
    bad = change(packed, {"extra.py": b"print()"}, {})
    assert not (unpack_run(bad, tmp_path / "other").path / "extra.py").exists()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": 99}, "install that version"),
        ({"name": None}, "name is not a text"),
        ({"files": {}}, r"run\.json is missing"),
        ({"files": [1]}, "not a packed run"),
        ({"files": {"run.json": {"size": "1", "sha256": ""}}}, "no size"),
    ],
)
def test_other_manifests_are_refused(
    packed: Path, tmp_path: Path, manifest: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        unpack_run(change(packed, {}, manifest), tmp_path / "other")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(packed: Path, tmp_path: Path, share: float) -> None:
    content = packed.read_bytes()
    packed.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunError, match=r"old_run\.fkdrun\.zip is damaged"):
        unpack_run(packed, tmp_path / "other")


def test_changed_bytes_are_refused(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.compress_size)
    content = bytearray(packed.read_bytes())
    middle = largest.header_offset + largest.compress_size // 2
    content[middle : middle + 40] = bytes(value ^ 0xFF for value in content[middle : middle + 40])
    packed.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        unpack_run(packed, tmp_path / "other")


def test_errors_of_the_target_name_the_target(packed: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FkdError, match=r"cannot write .*file"):
        unpack_run(packed, file / "runs")


def test_commands_pack_and_unpack(fkd: Command) -> None:
    shutil.copytree(OLD_RUN, "runs/old_run")
    assert "runs unpack old_run.fkdrun.zip" in fkd("runs", "pack", "old_run").out
    existing = fkd("runs", "unpack", "old_run.fkdrun.zip")
    assert_one_line_error(existing, "runs/old_run exists", "--name")
    assert fkd("runs", "unpack", "old_run.fkdrun.zip", "--name", "copy").code == 0
    assert "copy" in fkd("runs").out
    assert_one_line_error(fkd("runs", "unpack", "nothing.zip"), "nothing.zip does not exist")
    assert_one_line_error(fkd("runs", "pack", "nothing"), "no run 'nothing'")

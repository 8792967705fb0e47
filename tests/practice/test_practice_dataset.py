"""Preparing the served data: packings, held-out test sets, solutions, invalid options."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from conftest import Command, PracticeFactory, make_faces, write_competition
from official_client import Connect, download, write_submission

from fkd_kaggle import keypoints
from fkd_kaggle.data import csv_format, dataset, faces
from fkd_kaggle.errors import CompetitionError, DataError
from fkd_kaggle.practice.dataset import (
    HOLD_OUT,
    SERVED,
    SLUG,
    PracticeData,
    SyntheticSize,
    prepare_dataset,
)
from fkd_kaggle.practice.server import PracticeKaggle


@pytest.mark.parametrize("packing", ["plain", "zips", "kaggle zip", "zip of plain", "zip in a zip"])
def test_data_of_any_packing_is_served_as_kaggle_packs_it(
    packing: str,
    competition_dir: Path,
    start_practice: PracticeFactory,
    connect: Connect,
    tmp_path: Path,
    solution_csv: Path,
) -> None:
    originals = {path.name: path.read_bytes() for path in competition_dir.glob("*.csv")}
    data = pack(packing, originals, tmp_path / "packed")
    before = data.read_bytes() if packing == "kaggle zip" else None
    api = connect(start_practice(data, solution=solution_csv))
    assert download(api, tmp_path / "all") == originals
    if before is not None:
        assert (tmp_path / "all" / f"{SLUG}.zip").read_bytes() == before
    listed = {file.name: file.total_bytes for file in api.competition_list_files(SLUG).files}
    assert set(listed) == set(SERVED)
    for name, size in listed.items():
        api.competition_download_file(SLUG, name, path=str(tmp_path / "single"), quiet=True)
        assert (tmp_path / "single" / name).stat().st_size == size


def pack(packing: str, originals: dict[str, bytes], folder: Path) -> Path:
    """Lay the competition's CSVs out in one of the ways they are found; return where."""
    folder.mkdir()
    zipped = {
        name.replace(".csv", ".zip") if name in ("training.csv", "test.csv") else name: (
            as_zip({name: data}) if name in ("training.csv", "test.csv") else data
        )
        for name, data in originals.items()
    }
    if packing in ("plain", "zips"):
        for name, data in (originals if packing == "plain" else zipped).items():
            (folder / name).write_bytes(data)
        (folder / ".cache").mkdir()
        (folder / ".cache" / "training.csv").write_text("not this one")
        return folder
    inside = {f"data/{name}": data for name, data in originals.items()}
    whole = as_zip(zipped if packing == "kaggle zip" else inside)
    if packing == "zip in a zip":
        whole = as_zip({"download.zip": whole})
    (folder / "data.zip").write_bytes(whole)
    return folder / "data.zip"


def as_zip(content: dict[str, bytes]) -> bytes:
    """Return a zip of ``content``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize("hold_out", [None, 0.25])
def test_held_out_faces_have_no_near_duplicates_among_the_training_faces(
    hold_out: float | None, start_practice: PracticeFactory, connect: Connect, tmp_path: Path
) -> None:
    # Every face stands three times, each with a little noise of its own.
    once = make_faces(20, seed=3)
    order = np.repeat(np.arange(20), 3)
    noise = np.random.default_rng(4).integers(0, 3, (60, 96, 96))
    images = np.clip(once.images[order].astype(int) + noise, 0, 255).astype(np.uint8)
    (tmp_path / "data").mkdir()
    csv_format.write_training_csv(
        tmp_path / "data" / "training.csv",
        faces.Faces(images, once.keypoints[order], np.arange(1, 61)),
    )
    kaggle = start_practice(tmp_path / "data", hold_out=hold_out)
    into = tmp_path / "fetched"
    into.mkdir()
    for name, content in download(connect(kaggle), tmp_path / "zip").items():
        (into / name).write_bytes(content)
    training, test, lookup = (
        dataset.read_training(into), dataset.read_test(into), dataset.read_lookup(into)
    )  # fmt: skip
    share = len(test.images) / 60
    assert abs(share - (hold_out or 0.2)) <= 0.1
    assert len(training.images) + len(test.images) == 60
    person = {image.tobytes(): number for image, number in zip(images, order, strict=True)}
    learned = {person[image.tobytes()] for image in training.images}
    asked = [person[image.tobytes()] for image in test.images]
    assert not learned & set(asked)
    annotators = lookup.annotators(test.ids)
    assert set(annotators.tolist()) == {keypoints.COMPLETE, keypoints.PARTIAL}
    answers = kaggle.dataset.scorer.solution
    assert answers is not None
    rows = {image_id: np.flatnonzero(lookup.image_ids == image_id) for image_id in test.ids}
    for image_id, number, source in zip(test.ids, asked, annotators, strict=True):
        truth = once.keypoints[number].ravel()
        due = 30 if source == keypoints.COMPLETE else 8
        assert len(rows[image_id]) == due
        assert np.allclose(answers[rows[image_id]], truth[lookup.features[rows[image_id]]])


def test_another_seed_holds_other_faces_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    csv_format.write_training_csv(data / "training.csv", make_faces(40, seed=3))
    first, other, again = (
        prepare_dataset(tmp_path / state, PracticeData(data, hold_out=0.3, seed=seed))
        for state, seed in (("state", 0), ("state", 1), ("elsewhere", 0))
    )
    assert first.folder.name == again.folder.name != other.folder.name
    answers = [one.scorer.solution for one in (first, other, again)]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert answers[0] is not None
    assert answers[1] is not None
    assert not np.array_equal(answers[0], answers[1])


def test_held_out_synthetic_faces_have_a_state_folder_of_their_own(tmp_path: Path) -> None:
    size = SyntheticSize(training=40, test=6)
    plain = prepare_dataset(tmp_path, PracticeData(synthetic=size))
    held_out = prepare_dataset(tmp_path, PracticeData(synthetic=size, hold_out=0.3))
    again = prepare_dataset(tmp_path, PracticeData(synthetic=size))
    assert plain.folder.name == again.folder.name == "rendered-40-6-0"
    assert held_out.folder.name == "rendered-40-6-0-0.3"
    assert plain.about == again.about == "40 synthetic training faces, 6 synthetic test faces"
    held = "40 synthetic faces, 30% of the training faces held out as the test set"
    assert held_out.about == held
    np.testing.assert_array_equal(plain.scorer.row_ids, again.scorer.row_ids)
    assert len(plain.scorer.row_ids) != len(held_out.scorer.row_ids)


def test_the_help_names_range_and_default_of_the_share_to_hold_out(fkd: Command) -> None:
    words = " ".join(fkd("practice", "--help").out.split())
    assert "from 0.01 to 0.9, as the test set" in words
    assert f"{HOLD_OUT} if the data has none" in words


def test_the_solution_is_not_served(
    competition_dir: Path, start_practice: PracticeFactory, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    solution = write_competition(data)
    solution = solution.rename(data / "solution.csv")
    kaggle = start_practice(data, solution=solution)
    for name in ("solution.csv", "..%2Fanswers.npy", "../answers.npy", "%2e%2e/answers.npy"):
        answer = requests.get(f"{kaggle.url}/storage/{SLUG}/files/{name}", timeout=10)
        assert answer.status_code == 404
    with zipfile.ZipFile(kaggle.dataset.archive) as archive:
        assert sorted(archive.namelist()) == sorted(SERVED)


def test_a_solution_of_other_data_is_refused(
    start_practice: PracticeFactory, tmp_path: Path
) -> None:
    wrong = write_submission(tmp_path / "wrong.csv", {1: 1.0})
    with pytest.raises(DataError, match=r"wrong\.csv does not fit the data: Unable to find"):
        start_practice(solution=wrong)
    with pytest.raises(DataError, match="there is no solution file"):
        start_practice(solution=tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"data": Path("/nowhere")}, "there is no practice data at /nowhere"),
        ({"hold_out": 1.5}, "hold-out 1.5 is not between"),
        ({"hold_out": 0.2, "solution": Path("a.csv")}, "not both"),
        ({"data": None, "solution": Path("a.csv")}, r"^solution a\.csv needs .*: add --data;"),
    ],
)
def test_invalid_options_are_named(
    arguments: dict[str, Any], line: str, start_practice: PracticeFactory
) -> None:
    with pytest.raises(CompetitionError, match=line):
        start_practice(**arguments)


def test_invalid_data_is_named(start_practice: PracticeFactory, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no training\.csv"):
        start_practice(tmp_path)
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"broken\.zip is damaged"):
        start_practice(tmp_path / "broken.zip")


def test_a_full_disk_is_named(competition_dir: Path, solution_csv: Path, tmp_path: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        with pytest.raises(CompetitionError, match="disk full while preparing"):
            PracticeKaggle(
                PracticeData(competition_dir, solution_csv), state_dir=small / "state", port=0
            )
        assert not list(small.rglob("*.csv"))
    finally:
        subprocess.run(["umount", str(small)], check=True)

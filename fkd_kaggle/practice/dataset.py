"""The data that a practice Kaggle serves: a folder or zip in the competition's format, prepared.

Files are served unchanged. Without a test set, or on request, a share of the training faces is held
out as the test set. The solution is kept apart from the served files. Parses no CSV itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.data.archive import REQUIRED, data_files, find_csv_files, open_csv, write_plain_csv
from fkd_kaggle.data.faces import Lookup
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.errors import CompetitionError, DataError
from fkd_kaggle.practice import baselines, scoring, synthetic_dataset
from fkd_kaggle.practice.hold_out import hold_out_test_set
from fkd_kaggle.practice.scoring import Scorer

SLUG: Final = "facial-keypoints-detection"

SERVED: Final = ("training.zip", "test.zip", "IdLookupTable.csv", "SampleSubmission.csv")
"""The competition's files, as Kaggle lists them."""

HOLD_OUT: Final = 0.2
"""Share of the training faces that becomes the test set if the data has none."""

_VERSION: Final = 1
"""Part of the digest that names the state folder."""


@dataclass(frozen=True)
class SyntheticSize:
    """Numbers of synthetic faces."""

    training: int = 1200
    test: int = 300


@dataclass(frozen=True)
class PracticeData:
    """Where the data of a practice Kaggle comes from; synthetic faces by default."""

    data: Path | None = None
    """A folder or zip in the competition's format; None for synthetic faces."""
    solution: Path | None = None
    """CSV with RowId,Location, the solution of the test set of ``data``. Without it, submissions to
    that test set are not scored."""
    hold_out: float | None = None
    """Share of the training faces to use as the test set, from 0.01 to 0.9. None for the test set
    of the data, or for ``HOLD_OUT`` if it has none."""
    synthetic: SyntheticSize = SyntheticSize()
    """Numbers of faces to draw if ``data`` is None."""
    seed: int = 0
    """Random seed of the held-out or synthetic faces."""


@dataclass(frozen=True)
class ServedDataset:
    """Data that is ready to be served."""

    folder: Path
    """The state folder of this data."""
    about: str
    """Description for people."""
    scorer: Scorer
    baselines: Mapping[str, np.ndarray]
    """Name → (M,) float64 pixels of the baseline submissions, in the scorer's order of rows."""

    @property
    def archive(self) -> Path:
        """Path of the zip that contains all files."""
        return self.folder / "data" / f"{SLUG}.zip"

    def file(self, name: str) -> Path:
        """Return the path of one of ``SERVED``."""
        return self.folder / "data" / "files" / name


def prepare_dataset(state_dir: Path, source: PracticeData) -> ServedDataset:
    """Prepare data for serving, in a subfolder of ``state_dir``; reuse it if it exists.

    Parameters
    ----------
    state_dir
        Folder with one subfolder for each data set.
    source
        The data.

    Raises
    ------
    CompetitionError
        The options contradict each other, the data does not exist, or the disk is full.
    DataError
        The data or the solution is not in the competition's format.
    """
    _check_options(source)
    name, about = _identify(source)
    folder = state_dir / name
    if not (folder / "data" / "ready.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (
            files.disk_full_as(_disk_full_error(folder)),
            tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder) as work,
        ):
            _build(Path(work), source)
            shutil.rmtree(folder / "data", ignore_errors=True)
            (Path(work) / "data").replace(folder / "data")
    return _open(folder, about)


def _check_options(source: PracticeData) -> None:
    if source.hold_out is not None and not 0.01 <= source.hold_out <= 0.9:
        raise CompetitionError(f"hold-out {source.hold_out} is not between 0.01 and 0.9")
    if source.hold_out is not None and source.solution is not None:
        raise CompetitionError("give either a solution or a share to hold out, not both")
    if source.data is None and source.solution is not None:
        raise CompetitionError(
            f"solution {source.solution} needs the data that it belongs to: add --data; the "
            "solution of synthetic faces is known"
        )
    if source.data is not None and not source.data.exists():
        raise CompetitionError(f"there is no practice data at {source.data}")


def _disk_full_error(folder: Path) -> CompetitionError:
    return CompetitionError(
        f"disk full while preparing practice data in {folder}: free some space or choose "
        "another folder with --state-dir"
    )


def _identify(source: PracticeData) -> tuple[str, str]:
    """Return the name of the data's state folder and a description for people.

    The same data must keep its name, because the folder contains submissions and scores.
    """
    if source.data is None:
        size = source.synthetic
        name = f"rendered-{size.training}-{size.test}-{source.seed}"
        if source.hold_out is not None:
            return f"{name}-{source.hold_out}", f"{size.training} synthetic faces"
        return (
            name,
            f"{size.training} synthetic training faces, {size.test} synthetic test faces",
        )
    options = f"{source.hold_out} {source.seed}" if source.seed else f"{source.hold_out}"
    digest = hashlib.sha256(f"{_VERSION} {options}".encode())
    for path in data_files(source.data):
        digest.update(f"{path.name} {files.sha256(path)}".encode())
    about = source.data.name
    if source.solution is not None:
        if not source.solution.is_file():
            raise DataError(f"there is no solution file {source.solution}")
        digest.update(files.sha256(source.solution).encode())
        about += f", solution {source.solution.name}"
    return f"{source.data.stem[:40]}-{digest.hexdigest()[:12]}", about


def _build(work: Path, source: PracticeData) -> None:
    """Write everything that ``_open`` reads to ``work/data``."""
    data, solution, hold_out = source.data, source.solution, source.hold_out
    if data is None:
        size = source.synthetic
        data, solution = synthetic_dataset.write_competition(
            work / "rendered", size.training, size.test, source.seed
        )
    found = find_csv_files(data, work / "unpacked")
    if "training.csv" not in found:
        raise DataError(f"{data} holds no training.csv or training.zip")
    plain = work / "plain"
    plain.mkdir()
    if hold_out is None and "test.csv" not in found:
        if solution is not None:
            raise CompetitionError(f"{data} has no test set that {solution} could answer")
        hold_out = HOLD_OUT
    if hold_out is not None:
        write_plain_csv(found, "training.csv", plain)
        hold_out_test_set(plain, hold_out, source.seed)
        found = {name: plain / name for name in REQUIRED}
        solution = plain / "solution.csv"
    elif "IdLookupTable.csv" not in found:
        raise DataError(f"{data} has a test set and no IdLookupTable.csv to query its keypoints")
    write_plain_csv(found, "IdLookupTable.csv", plain)
    lookup = dataset.read_lookup(plain)
    ready = work / "data"
    (ready / "files").mkdir(parents=True)
    _write_served(found, lookup, ready)
    _write_archive(ready, data if hold_out is None else None)
    names: list[str] = []
    row_ids = np.sort(lookup.row_ids)
    np.save(ready / "row_ids.npy", row_ids)
    if solution is not None:
        np.save(ready / "answers.npy", scoring.read_solution(solution, row_ids))
        write_plain_csv(found, "training.csv", plain)
        entries = baselines.baseline_entries(dataset.read_training(plain), lookup)
        names = list(entries)
        np.save(ready / "house.npy", np.stack(list(entries.values())))
    files.write_json(ready / "ready.json", {"house": names, "hold_out": hold_out})


def _write_served(found: dict[str, Path], lookup: Lookup, ready: Path) -> None:
    """Write the files that Kaggle lists to ``ready/files``; zips that exist stay unchanged."""
    for name in SERVED:
        target = ready / "files" / name
        csv = name.removesuffix(".zip").removesuffix(".csv") + ".csv"
        if csv not in found:
            zeros = ["0"] * len(lookup.row_ids)
            files.write_text(target, submission_text(lookup.row_ids, zeros, newline="\r\n"))
        elif name.endswith(".csv"):
            write_plain_csv(found, csv, target.parent)
        elif found[csv].suffix.lower() == ".zip":
            shutil.copyfile(found[csv], target)
        else:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.write(found[csv], csv)


def _write_archive(ready: Path, data: Path | None) -> None:
    """Write the zip of all served files, or copy ``data`` if it is this zip already."""
    target = ready / f"{SLUG}.zip"
    if data is not None and data.is_file() and _is_kaggle_archive(data):
        shutil.copyfile(data, target)
        return
    with zipfile.ZipFile(target, "w") as archive:
        for name in SERVED:
            method = zipfile.ZIP_STORED if name.endswith(".zip") else zipfile.ZIP_DEFLATED
            archive.write(ready / "files" / name, name, method)


def _is_kaggle_archive(data: Path) -> bool:
    """Tell whether a zip contains the files of ``SERVED`` and nothing else."""
    with open_csv(data) as archive:
        return sorted(archive.namelist()) == sorted(SERVED)


def _open(folder: Path, about: str) -> ServedDataset:
    """Read data that ``_build`` wrote."""
    ready = folder / "data"
    record = json.loads((ready / "ready.json").read_text(encoding="utf-8"))
    names = record["house"]
    if record["hold_out"] is not None:
        about += f", {record['hold_out']:.0%} of the training faces held out as the test set"
    solution = np.load(ready / "answers.npy") if (ready / "answers.npy").exists() else None
    if solution is None:
        about += ", without a solution: submissions are checked, not scored (--solution)"
    entries = dict(zip(names, np.load(ready / "house.npy"), strict=True)) if names else {}
    return ServedDataset(folder, about, Scorer(np.load(ready / "row_ids.npy"), solution), entries)

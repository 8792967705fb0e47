"""The data a practice Kaggle serves: any folder or zip in the competition's format, made ready.

Its files are served as they are. Without a test set, or on request, a share of the training faces
is held out and becomes one. Answers are kept apart from what is served. Parses no CSV itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.data.archive import CONTENTS, data_files, find_csv_files, open_csv, write_plain_csv
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.data.metrics import masked_means
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.errors import CompetitionError, DataError
from fkd_kaggle.keypoints import COLUMNS, IMAGE_SIZE
from fkd_kaggle.practice import scoring
from fkd_kaggle.practice.hold_out import hold_out_test_set
from fkd_kaggle.practice.scoring import Scorer

SLUG: Final = "facial-keypoints-detection"

SERVED: Final = ("training.zip", "test.zip", "IdLookupTable.csv", "SampleSubmission.csv")
"""The competition's files, as Kaggle lists them."""

HOLD_OUT: Final = 0.2
"""Share of the training faces that becomes the test set where the data has none."""

_VERSION: Final = 1


@dataclass(frozen=True)
class ServedDataset:
    """Data made ready to be served."""

    folder: Path
    """The state folder of this data."""
    about: str
    """Where the data comes from, for people."""
    scorer: Scorer
    house: dict[str, np.ndarray]
    """Name → (M,) float64 values of the house's own submissions, in the order of the scorer."""

    @property
    def archive(self) -> Path:
        """The zip of everything."""
        return self.folder / "data" / f"{SLUG}.zip"

    def file(self, name: str) -> Path:
        """Return the path of one of ``SERVED``."""
        return self.folder / "data" / "files" / name


@dataclass(frozen=True)
class SyntheticSize:
    """How many faces to draw where no data is given."""

    training: int = 1200
    test: int = 300


DRAWN: Final = SyntheticSize()


def prepare_dataset(
    state_dir: Path,
    data: Path | None = None,
    solution: Path | None = None,
    hold_out: float | None = None,
    rendered: SyntheticSize = DRAWN,
    seed: int = 0,
) -> ServedDataset:
    """Make data ready to be served, in a folder of its own under ``state_dir``; once.

    ``seed`` says which faces are held out, or drawn.

    Raises
    ------
    CompetitionError
        The arguments contradict each other, or there is no such data.
    DataError
        The data or the answers are not in the competition's format.
    """
    if hold_out is not None and not 0.01 <= hold_out <= 0.9:
        raise CompetitionError(f"hold-out {hold_out} is not between 0.01 and 0.9")
    if hold_out is not None and solution is not None:
        raise CompetitionError("give either a solution or a share to hold out, not both")
    if data is not None and not data.exists():
        raise CompetitionError(f"there is no practice data at {data}")
    name, about = _identify(data, solution, hold_out, rendered, seed)
    folder = state_dir / name
    if not (folder / "data" / "ready.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (
            files.disk_full_as(_no_room(folder)),
            tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder) as work,
        ):
            _build(Path(work), data, solution, hold_out, rendered, seed)
            shutil.rmtree(folder / "data", ignore_errors=True)
            (Path(work) / "data").replace(folder / "data")
    return _open(folder, about)


def _no_room(folder: Path) -> CompetitionError:
    return CompetitionError(
        f"disk full while preparing practice data in {folder}: free some space or choose "
        "another folder with --state-dir"
    )


def _build(
    work: Path,
    data: Path | None,
    solution: Path | None,
    hold_out: float | None,
    rendered: SyntheticSize,
    seed: int,
) -> None:
    if data is None:
        data, solution = _render(work / "rendered", rendered, seed)
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
        hold_out_test_set(plain, hold_out, seed)
        found = {name: plain / name for name in CONTENTS[:3]}
        solution = plain / "solution.csv"
    elif "IdLookupTable.csv" not in found:
        raise DataError(f"{data} has a test set and no IdLookupTable.csv to ask for its keypoints")
    write_plain_csv(found, "IdLookupTable.csv", plain)
    lookup = dataset.read_lookup(plain)
    ready = work / "data"
    (ready / "files").mkdir(parents=True)
    _write_served(found, lookup, ready, data if hold_out is None else None)
    names: list[str] = []
    row_ids = np.sort(lookup.row_ids)
    np.save(ready / "row_ids.npy", row_ids)
    if solution is not None:
        np.save(ready / "answers.npy", scoring.read_answers(solution, row_ids))
        write_plain_csv(found, "training.csv", plain)
        house = _baseline_entries(dataset.read_training(plain), lookup)
        names = list(house)
        np.save(ready / "house.npy", np.stack(list(house.values())))
    files.write_json(ready / "ready.json", {"house": names, "hold_out": hold_out})


def _open(folder: Path, about: str) -> ServedDataset:
    ready = folder / "data"
    note = json.loads((ready / "ready.json").read_text(encoding="utf-8"))
    names = note["house"]
    if note["hold_out"] is not None:
        about += f", {note['hold_out']:.0%} of the training faces held out as the test set"
    answers = np.load(ready / "answers.npy") if (ready / "answers.npy").exists() else None
    if answers is None:
        about += ", without answers: submissions are checked, not scored (--solution)"
    house = dict(zip(names, np.load(ready / "house.npy"), strict=True)) if names else {}
    return ServedDataset(folder, about, Scorer(np.load(ready / "row_ids.npy"), answers), house)


def _identify(
    data: Path | None,
    solution: Path | None,
    hold_out: float | None,
    rendered: SyntheticSize,
    seed: int,
) -> tuple[str, str]:
    """Return the name of the state folder for this data, and words for people."""
    if data is None:
        name = f"rendered-{rendered.training}-{rendered.test}-{seed}"
        return (
            name,
            f"{rendered.training} rendered training faces, {rendered.test} rendered test faces",
        )
    chosen = f"{hold_out} {seed}" if seed else f"{hold_out}"  # as it was before there were seeds
    digest = hashlib.sha256(f"{_VERSION} {chosen}".encode())
    for path in data_files(data):
        digest.update(f"{path.name} {files.sha256(path)}".encode())
    about = data.name
    if solution is not None:
        if not solution.is_file():
            raise DataError(f"there is no solution file {solution}")
        digest.update(files.sha256(solution).encode())
        about += f", answers of {solution.name}"
    return f"{data.stem[:40]}-{digest.hexdigest()[:12]}", about


def _render(folder: Path, rendered: SyntheticSize, seed: int) -> tuple[Path, Path]:
    from fkd_kaggle.practice import synthetic_faces

    return synthetic_faces.write_competition(folder, rendered.training, rendered.test, seed)


def _write_served(found: dict[str, Path], lookup: Lookup, ready: Path, data: Path | None) -> None:
    """Write the files that Kaggle lists, and the zip of all; unchanged wherever they exist."""
    for name in SERVED:
        target = ready / "files" / name
        csv = name.removesuffix(".zip").removesuffix(".csv") + ".csv"
        if csv not in found:
            zeros = [0] * len(lookup.row_ids)
            files.write_text(target, submission_text(lookup.row_ids, zeros, newline="\r\n"))
        elif name.endswith(".csv"):
            write_plain_csv(found, csv, target.parent)
        elif found[csv].suffix.lower() == ".zip":
            shutil.copyfile(found[csv], target)
        else:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.write(found[csv], csv)
    everything = ready / f"{SLUG}.zip"
    if data is not None and data.is_file() and _is_as_kaggle_packs(data):
        shutil.copyfile(data, everything)
        return
    with zipfile.ZipFile(everything, "w") as archive:
        for name in SERVED:
            method = zipfile.ZIP_STORED if name.endswith(".zip") else zipfile.ZIP_DEFLATED
            archive.write(ready / "files" / name, name, method)


def _is_as_kaggle_packs(data: Path) -> bool:
    with open_csv(data) as archive:
        return sorted(archive.namelist()) == sorted(SERVED)


def _baseline_entries(training: Faces, lookup: Lookup) -> dict[str, np.ndarray]:
    """Return what anyone can submit without learning: name → (M,) values by ascending RowId."""
    order = np.argsort(lookup.row_ids)
    features, image_ids = lookup.features[order], lookup.image_ids[order]
    flat = training.keypoints.reshape(-1, len(COLUMNS)).astype(np.float64)
    overall = _column_means(flat, np.full(len(COLUMNS), (IMAGE_SIZE - 1) / 2))
    of_source = np.stack(
        [_column_means(flat[training.annotators == one], overall) for one in (0, 1)]
    )
    annotators = lookup.annotators(image_ids)
    return {
        "column means (house)": overall[features],
        "column means per annotator (house)": of_source[annotators, features],
        "middle of the frame (house)": np.full(len(features), (IMAGE_SIZE - 1) / 2),
    }


def _column_means(flat: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return (30,) means of (N, 30) coordinates where labelled, ``otherwise`` where nobody did."""
    return masked_means(flat, 0, default=otherwise)

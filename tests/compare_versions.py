"""Train with two checkouts of this package on the same data and compare their submissions.

    python tests/compare_versions.py OLD_CHECKOUT NEW_CHECKOUT

For changes that must not change predictions. Each checkout is used through its command line only
(``PYTHONPATH=CHECKOUT python -m fkd_kaggle …``), so that modules can have different names. For each
training in ``TRAININGS``:

- both versions train on a copy of the same synthetic faces, and their submission files are compared
  byte for byte;
- the new version predicts with the old version's run, without its blend and its stored predictions
  of the test faces, and the submission file is compared with the old version's.

Prints one line for each comparison; the exit status is 1 if any of them differs, and 2 if a command
fails. Takes about nine minutes on two cores. Trainings are reproducible on the same machine (CPU,
float32, one worker), but not between machines.

pytest does not collect this script. ``write_data`` also writes the data that the run in
``tests/data/old_run`` was trained on: do not change its output.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TRAININGS: dict[str, tuple[str, ...]] = {
    "smoke": ("--recipe", "smoke", "--epochs", "2"),
    "deep15": ("--recipe", "deep15:epochs=1", "--folds", "2"),
    "cascade": ("--recipe", "quick", "--epochs", "1", "--folds", "2"),
    "imputed": ("--recipe", "farhat:epochs=1", "--recipe", "masked-cnn:epochs=1", "--folds", "2"),
    "augmented": ("--recipe", "kartalovic-leaky:epochs=1,options.convolutions=6"),
}
"""What is trained, by name: the arguments of ``train-ensemble``.

Together they use both optimizers, every part of augmentation that shipped recipes use, missing
labels masked, imputed and dropped, offline augmentation, and blends with and without a correction.
None of them names a key of a recipe that was renamed.
"""
COMMON = ("--seed", "1", "--precision", "float32", "--workers", "1")
TRAINING_FACES = 120
TEST_FACES = 40

SIZE = 96
NAMES = (
    "left_eye_center", "right_eye_center", "left_eye_inner_corner", "left_eye_outer_corner",
    "right_eye_inner_corner", "right_eye_outer_corner", "left_eyebrow_inner_end",
    "left_eyebrow_outer_end", "right_eyebrow_inner_end", "right_eyebrow_outer_end", "nose_tip",
    "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip", "mouth_center_bottom_lip",
)  # fmt: skip
"""The competition's keypoints, in the order of its columns."""
FACE = (
    (66, 37), (30, 37), (59, 38), (73, 38), (37, 38), (23, 38), (56, 29), (80, 29), (40, 29),
    (16, 29), (48, 57), (63, 75), (33, 75), (48, 72), (48, 81),
)  # fmt: skip
"""(x, y) of each keypoint in a face that looks straight ahead."""
FOUR = (0, 1, 10, 14)
"""The keypoints that the partial annotator labels."""


class CommandError(Exception):
    """A command of one of the checkouts failed."""


# --- data -----------------------------------------------------------------------------------------


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (96, 96) int64 grey values and the (15, 2) int64 hundredths of pixels of a face.

    Computed with integers and without NumPy's random generators: the same on every machine.
    """
    state = 7919 * (number + 1)

    def choose(count: int) -> int:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 8) % count

    size, left, low = 80 + choose(31), choose(1001) - 500, choose(801) - 400
    points = np.array(
        [
            (
                4800 + left + size * (x - 48) + choose(161) - 80,
                5000 + low + size * (y - 50) + choose(161) - 80,
            )
            for x, y in FACE
        ]
    )
    skin, ground = 120 + choose(80), choose(90)
    y, x = np.mgrid[:SIZE, :SIZE] * 100
    across = (x - 4800 - left) * 100 // (size * 40)
    along = (y - 5000 - low) * 100 // (size * 48)
    inside = across**2 + along**2 < 100**2
    # Patches of light and shadow, 12 pixels wide, so that faces are not near-duplicates.
    light = np.array([[choose(121) - 60 for _ in range(9)] for _ in range(9)])
    row, column, down, right = y // 1200, x // 1200, y % 1200 // 100, x % 1200 // 100
    upper = light[row, column] * (12 - right) + light[row, column + 1] * right
    lower = light[row + 1, column] * (12 - right) + light[row + 1, column + 1] * right
    image = np.where(inside, skin, ground) + (upper * (12 - down) + lower * down) // 144
    for place, (px, py) in enumerate(points.tolist()):
        near = (x - px) ** 2 + (y - py) ** 2
        reach = 350 if place < 2 or place > 9 else 220
        image = np.where(near < reach**2, 20 + 4 * place, image)
    grain = (x // 100 * 37 + y // 100 * 101 + number * 53) ** 2 // 7 % 9
    return np.clip(image + grain, 0, 255), points


def write_data(folder: Path, training: int, test: int) -> None:
    """Write training.csv, test.csv and IdLookupTable.csv into a new folder.

    Every third face has labels, or queries, of four keypoints only.
    """
    folder.mkdir(parents=True)
    columns = [f"{name}_{axis}" for name in NAMES for axis in "xy"]
    lines = [",".join([*columns, "Image"])]
    for number in range(training):
        image, points = draw(number)
        cells = [
            f"{value // 100}.{value % 100:02d}" if number % 3 < 2 or place in FOUR else ""
            for place, point in enumerate(points.tolist())
            for value in point
        ]
        lines.append(",".join([*cells, " ".join(map(str, image.ravel().tolist()))]))
    _write(folder / "training.csv", lines)
    lines, lookup = ["ImageId,Image"], ["RowId,ImageId,FeatureName,Location"]
    for number in range(test):
        image, _ = draw(training + number)
        lines.append(f"{number + 1}," + " ".join(map(str, image.ravel().tolist())))
        for place, column in enumerate(columns):
            if number % 3 < 2 or place // 2 in FOUR:
                lookup.append(f"{len(lookup)},{number + 1},{column},")
    _write(folder / "test.csv", lines)
    _write(folder / "IdLookupTable.csv", lookup)


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))


# --- checkouts ------------------------------------------------------------------------------------


class Checkout:
    """A version of the package, and a folder with its copy of the data, its runs and files."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path.resolve(), folder
        write_data(folder / "data", TRAINING_FACES, TEST_FACES)
        found = self._python("-c", "import fkd_kaggle; print(fkd_kaggle.__file__)").strip()
        if not Path(found).is_relative_to(self.path):
            raise CommandError(f"with {self.path} first in its path Python imports {found}")

    def train(self, name: str) -> Path:
        """Train one of ``TRAININGS`` and return the run's folder."""
        self._python("-m", "fkd_kaggle", "train-ensemble", *TRAININGS[name], *COMMON, "--run", name)
        return self.folder / "runs" / name

    def submission(self, run: Path) -> bytes:
        """Return the bytes of the submission file that this version writes for a run."""
        place = Path(tempfile.mkdtemp(prefix="submissions-", dir=self.folder))
        self._python(
            "-m", "fkd_kaggle", "submit", str(run), "--dry-run", "--submissions-dir", str(place)
        )
        (path,) = place.glob("*.csv")
        return path.read_bytes()

    def _python(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            output = "\n".join(done.stdout.splitlines()[-20:])
            raise CommandError(f"{self.path}: {' '.join(arguments)} failed:\n{output}")
        return done.stdout


def without_predictions(run: Path, target: Path) -> Path:
    """Return a copy of a run's folder without its blend and its predictions of the test faces."""
    shutil.copytree(run, target)
    stored = [target / "blend.npz", *target.glob("members/*/test.npz")]
    if len(stored) < 2:
        raise CommandError(f"{run} holds no predictions of the test faces to be deleted")
    for path in stored:
        path.unlink()
    return target


# --- comparison -----------------------------------------------------------------------------------


def compare(what: str, old: bytes, new: bytes) -> bool:
    """Print whether two submission files are the same, and return it."""
    if old == new:
        print(f"same       {what}: {len(old):,} bytes", flush=True)
        return True
    print(f"DIFFERENT  {what}: {_difference(old, new)}", flush=True)
    return False


def _difference(old: bytes, new: bytes) -> str:
    """Say by how much two submission files differ."""
    rows = [[line.split(",") for line in text.decode().splitlines()[1:]] for text in (old, new)]
    if [row[0] for row in rows[0]] != [row[0] for row in rows[1]]:
        return "the rows differ"
    values = np.array([[float(row[1]) for row in table] for table in rows])
    off = np.abs(values[1] - values[0])
    return f"{np.count_nonzero(off)} of {len(off)} values, by at most {off.max():.5f} pixels"


def main() -> int:
    """Run the comparisons; return the exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="Exit status: 0 no difference, 1 a difference, 2 a command failed.",
    )
    parser.add_argument("old", type=Path, metavar="OLD_CHECKOUT")
    parser.add_argument("new", type=Path, metavar="NEW_CHECKOUT")
    parser.add_argument("--only", choices=[*TRAININGS], help="run this training only")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep all files in this new folder"
    )
    arguments = parser.parse_args()
    same = True
    with tempfile.TemporaryDirectory(prefix="compare-versions-") as temporary:
        place = Path(temporary) if arguments.keep is None else arguments.keep.resolve()
        try:
            old = Checkout(arguments.old, place / "old")
            new = Checkout(arguments.new, place / "new")
            for name in [arguments.only] if arguments.only else TRAININGS:
                started = time.monotonic()
                trained = old.train(name)
                expected = old.submission(trained)
                same &= compare(f"{name}, both trained", expected, new.submission(new.train(name)))
                stripped = without_predictions(trained, place / "stripped" / name)
                predicted = new.submission(stripped)
                same &= compare(f"{name}, old run predicted by new version", expected, predicted)
                print(f"           {name} took {time.monotonic() - started:.0f} s", flush=True)
        except CommandError as error:
            print(error, file=sys.stderr)
            return 2
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

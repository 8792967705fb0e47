"""``export_run``: a run as a folder with one model file, its check, its card and an example.

exports/RUN-FORMAT/
model.onnx …      the file; saved_model/ is a folder, OpenVINO has .xml and .bin
example.py        predicts with the runtime only
check.json        difference from ``predict``, size, speed
README.md         model card
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.export.check import FILE_NAME, Check, check_export, write_check
from fkd_kaggle.export.formats import Format, find_format
from fkd_kaggle.export.model_card import model_card
from fkd_kaggle.formatting import first_line
from fkd_kaggle.keypoints import ANNOTATORS, COMPLETE, KEYPOINT_NAMES
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.calibration import load_calibration
from fkd_kaggle.runs.folder import Run, read_folds

_CHECKED_FACES = 128


@dataclass(frozen=True)
class ExportResult:
    """What was exported."""

    path: Path
    """The folder."""
    file: Path
    """The model's file in it; a folder for a SavedModel."""
    networks: int
    """Number of networks in the file."""
    check: Check


def export_run(
    run: Run,
    target: Path,
    format_name: str,
    *,
    data_dir: Path,
    annotator: int = COMPLETE,
    force: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> ExportResult:
    """Write a run as a model file for another runtime, and check the file.

    Parameters
    ----------
    run
        A blended run.
    target
        The folder to write.
    format_name
        One of ``formats.FORMATS``.
    data_dir
        Folder of the data set of the run, on whose held-out faces the file is checked.
    annotator
        Annotator whose conventions the points follow: 0 complete, 1 partial.
    force
        Whether to replace an earlier export.
    on_step
        Called with the name of each step.

    Raises
    ------
    FkdError
        The format is unknown or its packages are missing; the folder exists; the run cannot be
        exported; or the file differs from ``predict`` by more than 0.02 pixels. Nothing is written.
    """
    step = on_step or (lambda name: None)
    format_ = find_format(format_name)
    format_.check_installed()
    if target.exists() and not force:
        raise FkdError(f"{target} exists: choose another name, or replace it with force=True")
    images = _held_out_faces(run, data_dir)
    step("loading the networks")
    predictor = _load(run)
    with files.atomic_folder(target, FILE_NAME) as folder:
        step("predicting held-out faces")
        expected = predictor(images, annotator)
        step(f"writing {format_.file}")
        members = _write_model(predictor, format_, annotator, folder, images)
        files.write_text(folder / "example.py", _example(format_))
        step("checking the file in its runtime")
        check = check_export(folder, format_.file, images, expected)
        about = {
            "run": run.name,
            "format": format_.name,
            "annotator": ANNOTATORS[annotator],
            "compared_with": "predict in float32, without crop search",
        }
        write_check(folder, check, about)
        card = model_card(run, format_, annotator, check, members, load_calibration(run))
        files.write_text(folder / "README.md", card)
    return ExportResult(target, target / format_.file, len(members), check)


def _held_out_faces(run: Run, data_dir: Path) -> np.ndarray:
    """Return (N, 96, 96) uint8 faces that some networks of the run did not see."""
    try:
        fingerprint = dataset.fingerprint(data_dir)
    except FkdError as error:
        raise FkdError(
            f"export checks the file on held-out faces, and {error}: name the folder of the data "
            "that the run was trained on"
        ) from error
    run.check_data(fingerprint)
    training, held_out = dataset.read_training(data_dir), read_folds(run.path)
    if held_out is None:
        raise RunError(f"run {run.name} has no folds: it was never trained")
    rows = np.flatnonzero(np.isin(held_out, [member.fold for member in run.plan.members]))
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:_CHECKED_FACES])
    return np.ascontiguousarray(training.images[rows])


def _load(run: Run) -> Predictor:
    """Return the networks of a run in float32."""
    from fkd_kaggle.nn import backend

    backend.start_keras("float32")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FkdError(
            f"export needs Keras' TensorFlow backend, not {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )
    return Predictor(run, precision="float32")


def _write_model(
    predictor: Predictor, format_: Format, annotator: int, folder: Path, images: np.ndarray
) -> list[Member]:
    """Write the model's file; return the members whose networks it contains."""
    from fkd_kaggle.export.graph import build_graph, exported_members
    from fkd_kaggle.nn import backend

    graph = build_graph(predictor.networks, predictor.members, predictor.blend, annotator)
    graph(images[:1], training=False)  # Keras exports only models that were called.
    try:
        with backend.suppress_stderr():
            format_.write(graph, folder / format_.file)
    except (FkdError, OSError):
        raise
    except Exception as error:
        reason = first_line(error)[:300] or type(error).__name__
        raise FkdError(f"the run cannot be written as {format_.name}: {reason}") from error
    return exported_members(predictor.members, predictor.blend, annotator)


def _example(format_: Format) -> str:
    """Return the text of example.py."""
    template = resources.files("fkd_kaggle.export") / "templates" / "example.py.txt"
    names = "\n".join(f'    "{name}",' for name in KEYPOINT_NAMES)
    text = template.read_text(encoding="utf-8")
    for mark, value in (
        ("@RUNTIME@", format_.runtime),
        ("@NAMES@", names),
        ("@FUNCTIONS@", format_.example),
    ):
        text = text.replace(mark, value)
    return text

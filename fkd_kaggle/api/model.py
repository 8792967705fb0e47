"""A trained run as an object that predicts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle import pipeline
from fkd_kaggle.api.faces import FaceSet, as_images
from fkd_kaggle.data.array_folder import is_array_folder
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import DataError, unknown_name
from fkd_kaggle.keypoints import ANNOTATORS, NUM_KEYPOINTS
from fkd_kaggle.nn.backend import use_default_backend
from fkd_kaggle.runs.folder import Run, find_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from fkd_kaggle.photos.found_faces import PhotoFace
    from fkd_kaggle.runs.scores import Scores

FACES_FOLDER = "faces"
"""Folder of the training arrays within a run folder (``data.array_folder``)."""

_BATCH = 1024
"""Faces for which the predictions of all networks are kept in memory at a time."""


class Model:
    """The networks of a run and their blend.

    ``load`` and ``train`` return models. The networks are loaded on the first prediction and again
    after the run has been resumed, so that a model does not go stale.

    Parameters
    ----------
    run
        The run.

    Examples
    --------
    >>> import fkd_kaggle as fkd
    >>> model = fkd.load("runs/quick-1")
    >>> model.predict(images).shape
    (12, 15, 2)
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._loaded: tuple[object, Predictor] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Return the run's folder, status and expected score."""
        scores = self.scores
        parts = [f"{str(self.path)!r}", self.status]
        if scores and scores.combined is not None:
            parts.append(f"cross-validated RMSE {scores.combined:.3f}")
        return f"<Model {', '.join(parts)}>"

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.name

    @property
    def path(self) -> Path:
        """Folder of the run."""
        return self.run.path

    @property
    def status(self) -> str:
        """How far the training is: "finished", "time limit", "interrupted" and others."""
        return self.run.status

    @property
    def scores(self) -> Scores | None:
        """Cross-validated scores in pixels: ``combined``, ``complete``, ``partial``, ``expected``.

        None before the first blend. ``expected`` needs a test set and is None without one.
        """
        return self.run.scores

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes of the ensemble."""
        return tuple(self.run.recipe_digests)

    def predict(
        self, images: ArrayLike | FaceSet, annotator: str | Sequence[str] | ArrayLike = "complete"
    ) -> np.ndarray:
        """Predict the keypoints of faces.

        Parameters
        ----------
        images
            (N, 96, 96) or (N, 9216) grey values from 0 to 255, cropped like the competition's
            faces. ``predict_photo`` finds faces in photos.
        annotator
            Whose conventions the predictions follow: "complete" or "partial", for all faces, or N
            names or codes (0 complete, 1 partial). ``load_faces(…, test=True).annotators`` are
            those of a submission.

        Returns
        -------
        numpy.ndarray
            (N, 15, 2) float32 pixels, x before y; NaN for keypoints that the run does not predict.

        Raises
        ------
        DataError
            The images have another shape, or the annotator is unknown.
        RunError
            The run has no trained network yet.
        """
        pixels = as_images(images)
        codes = _annotator_codes(annotator, len(pixels))
        if not len(pixels):
            return np.empty((0, NUM_KEYPOINTS, 2), np.float32)
        predictor = self._predictor()
        parts = [
            predictor(
                pixels[start : start + _BATCH], codes[start : start + _BATCH], crop_search=True
            )
            for start in range(0, len(pixels), _BATCH)
        ]
        return np.concatenate(parts).astype(np.float32)

    def predict_photo(
        self,
        photo: str | Path | np.ndarray,
        annotator: str = "complete",
        *,
        folder: str | Path | None = None,
    ) -> list[PhotoFace]:
        """Find the faces in a photo and predict their keypoints.

        Parameters
        ----------
        photo
            Path of an image file, or (H, W, 3) or (H, W) uint8 pixels.
        annotator
            "complete" or "partial".
        folder
            Folder of the data that the run was trained on, with which the expected errors of a run
            of an earlier version are measured and stored in the run. Default: the arrays that the
            run was trained on, if there are any.

        Returns
        -------
        list of PhotoFace
            The faces, the largest first, each with ``box`` (left, top, width, height), ``points``
            (15, 2) and ``expected_error`` in photo pixels (NaN if the run has no calibration), and
            the ``confidence`` of the face detector.

        Raises
        ------
        DataError
            The photo cannot be read.
        RunError
            The run does not predict all 15 keypoints.

        Examples
        --------
        >>> for face in model.predict_photo("party.jpg"):
        ...     print(face.box, face.points[10], face.expected_error)
        """
        from fkd_kaggle.photos.prediction import PhotoModel

        (code,) = _annotator_codes(annotator, 1)
        data_dir = Path(folder) if folder is not None else self._array_folder()
        opened = PhotoModel.from_predictor(
            self._predictor(), annotator=int(code), data_dir=data_dir
        )
        return opened.predict(Path(photo) if isinstance(photo, str) else photo)

    def export(
        self,
        target: str | Path,
        *,
        format: str | None = None,
        annotator: str = "complete",
        folder: str | Path | None = None,
        force: bool = False,
    ) -> Path:
        """Write the model for another runtime, and check the written file.

        Parameters
        ----------
        target
            A file ``….onnx``, ``….tflite`` or ``….keras``; or a folder, which also gets an example
            and a model card.
        format
            "onnx", "litert", "saved-model", "keras" or "openvino". Default: by the file's name.
        annotator
            Annotator whose conventions the exported model follows.
        folder
            Folder of the data that the run was trained on, on whose held-out faces the file is
            checked. Default: the arrays that the run was trained on, otherwise ``data``.
        force
            Whether to replace what exists.

        Returns
        -------
        pathlib.Path
            ``target``.

        Raises
        ------
        FkdError
            The format is unknown, its packages are missing, the target exists or cannot be
            written, or the file's predictions differ from those of ``predict``. Nothing is
            written.

        Examples
        --------
        >>> model.export("model.onnx")
        """
        from fkd_kaggle.api.export import export_model

        (code,) = _annotator_codes(annotator, 1)
        data_dir = Path(folder) if folder is not None else self._array_folder() or Path("data")
        use_default_backend()
        return export_model(
            self.run, Path(target), format, annotator=int(code), data_dir=data_dir, force=force
        )

    def write_submission(
        self, folder: str | Path = "data", submissions: str | Path = "submissions"
    ) -> Path:
        """Predict the test faces and write the submission file, as ``fkd-kaggle predict`` does.

        Parameters
        ----------
        folder
            Folder of the competition's files that the run was trained on.
        submissions
            Folder that gets the file.

        Returns
        -------
        pathlib.Path
            The submission file, valid for the lookup table.

        Raises
        ------
        DataError
            Test set or lookup table are missing.
        RunError
            The run was trained on other data.
        """
        use_default_backend()
        return pipeline.write_run_submission(self.run, Path(folder), Path(submissions))

    def _predictor(self) -> Predictor:
        """Return the loaded networks; load them again if the run has changed on disk."""
        with self._lock:
            state = self._state()
            if self._loaded is None or self._loaded[0] != state:
                use_default_backend()
                self._loaded = state, Predictor(self.run)
            return self._loaded[1]

    def _array_folder(self) -> Path | None:
        """Return the folder of the arrays that the run was trained on; None without one."""
        folder = self.path / FACES_FOLDER
        return folder if is_array_folder(folder) else None

    def _state(self) -> object:
        """Return what changes on disk when the run is trained or blended again."""
        names = ["run.json", "blend.npz"]
        files = [self.path / name for name in names]
        return [
            (status.st_mtime_ns, status.st_size)
            for status in (file.stat() for file in files if file.exists())
        ]

    def __getstate__(self) -> dict[str, object]:
        """Return the state for pickling: the run, without loaded networks."""
        return {"run": self.run}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore a pickled model; its run folder must exist."""
        assert isinstance(state["run"], Run)
        Model.__init__(self, state["run"])


def load(run: str | Path | None = None, runs_dir: str | Path = "runs") -> Model:
    """Load a trained run.

    Parameters
    ----------
    run
        Name or folder of the run. Default: the newest run.
    runs_dir
        Folder of the runs.

    Raises
    ------
    RunError
        There is no such run.

    Examples
    --------
    >>> model = fkd.load("runs/quick-1")
    >>> model.scores.combined
    1.185
    """
    return Model(find_run(None if run is None else str(run), Path(runs_dir)))


def _annotator_codes(annotator: str | Sequence[str] | ArrayLike, count: int) -> np.ndarray:
    """Return (N,) uint8 codes of annotators."""
    try:
        values = np.asarray(annotator)
    except ValueError:
        raise DataError("annotator must have one name or code for each face") from None
    if values.dtype.kind in "UO":
        names = [str(name) for name in np.atleast_1d(values)]
        for name in names:
            if name not in ANNOTATORS:
                raise DataError(unknown_name("annotator", name, ANNOTATORS))
        values = np.array([ANNOTATORS.index(name) for name in names])
        values = values[0] if np.ndim(annotator) == 0 else values
    if values.dtype.kind not in "iub" or not np.isin(values, (0, 1)).all():
        raise DataError("annotator must be 'complete', 'partial', or one of them for each face")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != count):
        raise DataError(f"annotator has shape {values.shape}, but there are {count} images")
    return np.ascontiguousarray(np.broadcast_to(values.astype(np.uint8), count))

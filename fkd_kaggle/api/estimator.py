"""An ensemble of networks as an estimator in scikit-learn's conventions."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fkd_kaggle.api.estimator_data import fit_images, fit_targets
from fkd_kaggle.api.model import load
from fkd_kaggle.api.training import train
from fkd_kaggle.errors import (
    DataError,
    FkdError,
    NoUsefulNetworkError,
    RunError,
    TrainingFailedError,
    unknown_name,
)
from fkd_kaggle.keypoints import ANNOTATORS
from fkd_kaggle.runs.packing import pack_run, unpack_run

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags

_MAX_SEED = 1_000_000
"""Plans multiply the seed by 1000."""


class KeypointRegressor(RegressorMixin, BaseEstimator):
    """Regress keypoints of face images with an ensemble of convolutional networks.

    Accepts images as (N, H, W) arrays or as rows of pixels, and keypoints as (N, 15, 2) or (N, 30)
    arrays in pixels of these images, NaN where unlabelled. Predictions have the shape of the
    targets.

    Parameters
    ----------
    recipe
        Name of a recipe or an ensemble, path of a .toml file, or a list of them.
    time_limit
        Total training time of ``fit``: seconds or text such as "20m". Default: the ensemble's own.
    folds, epochs, batch_size
        Replace the values of the ensemble and its recipes.
    precision
        "auto", "float32", "bfloat16" or "float16".
    annotator
        Whose conventions predictions follow, "complete" or "partial". Default: complete, or partial
        if no training face has more than that annotator's four keypoints.
    image_shape
        (height, width) of images given as rows. Default: square; 9216 values are 96×96. Images of
        other sizes than 96×96 are scaled.
    workers
        Number of worker processes, each of which trains one network at a time. Default 0: train
        in this process, which starts faster. None: one for each GPU or core.
    runs_dir
        Folder that keeps the run. Default: a temporary folder, deleted with the estimator.
    random_state
        Seed, as everywhere in scikit-learn.
    verbose
        Whether ``fit`` shows the progress.

    Attributes
    ----------
    model_ : Model
        The trained model.
    n_features_in_ : int
        Number of pixels of an image.
    image_shape_ : tuple of int
        Height and width of the images.
    pixel_range_ : tuple of float
        The values of black and white.

    Notes
    -----
    Pixel values may be 0 to 255 or 0 to 1; other values are scaled by their range in ``fit``.
    Targets with fewer columns than 30 are scaled to the image by their range and trained as
    coordinates. All checks of ``check_estimator`` pass. If no network is better than the mean of
    the targets, ``predict`` warns and returns the mean.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold, cross_val_predict
    >>> import fkd_kaggle as fkd
    >>> faces = fkd.load_faces("data")
    >>> regressor = fkd.KeypointRegressor(recipe="heatmap-small", time_limit="5m")
    >>> points = cross_val_predict(
    ...     regressor, faces.images, faces.keypoints, groups=people, cv=GroupKFold(3)
    ... )
    """

    def __init__(
        self,
        recipe: Any = "quick",
        *,
        time_limit: float | str | None = None,
        folds: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        precision: str = "auto",
        annotator: str | None = None,
        image_shape: tuple[int, int] | None = None,
        workers: int | None = 0,
        runs_dir: str | Path | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.time_limit = time_limit
        self.folds = folds
        self.epochs = epochs
        self.batch_size = batch_size
        self.precision = precision
        self.annotator = annotator
        self.image_shape = image_shape
        self.workers = workers
        self.runs_dir = runs_dir
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> KeypointRegressor:
        """Train the ensemble.

        Parameters
        ----------
        X
            (N, H, W) or (N, H·W) grey values.
        y
            (N, 15, 2) or (N, 30) pixels of the images; NaN where unlabelled.
        groups
            (N,) labels; images with equal labels stay in one fold of the ensemble. Default:
            near-duplicate images.

        Raises
        ------
        ValueError
            The arrays are not images and keypoints, there are too few, or a parameter is invalid.
        """
        if self.annotator is not None and self.annotator not in ANNOTATORS:
            raise ValueError(unknown_name("annotator", self.annotator, ANNOTATORS))
        rows = self._check_images(X, reset=True)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        targets = check_array(
            y, ensure_2d=False, allow_nd=True, ensure_all_finite="allow-nan", dtype=np.float64
        )
        check_consistent_length(rows, targets)
        self._images = fit_images(rows, self.image_shape_)
        self._targets = fit_targets(targets, self.image_shape_)
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            self._mean = np.nanmean(targets, axis=0)  # NaN for a keypoint without labels
        images, keypoints = self._images.to_faces(rows), self._targets.to_keypoints(targets)
        folder = _TemporaryFolder() if self.runs_dir is None else None
        seed = int(check_random_state(self.random_state).randint(_MAX_SEED))
        try:
            self.model_ = train(
                images,
                keypoints,
                recipe=self.recipe,
                time_limit=self.time_limit,
                folds=self.folds,
                epochs=self.epochs,
                batch_size=self.batch_size,
                seed=seed,
                precision=self.precision,
                groups=groups,
                # Targets with fewer columns leave keypoints without labels.
                accept_implausible=True,
                workers=self.workers,
                runs_dir=str(folder.path if folder else self.runs_dir),
                verbose=self.verbose,
            )
        except (RunError, TrainingFailedError):
            raise
        except FkdError as error:
            raise ValueError(str(error)) from error
        self._folder = folder
        self._annotator = self.annotator or self._targets.default_annotator(targets)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict keypoints.

        Parameters
        ----------
        X
            (N, H, W) or (N, H·W) grey values of the same size as in ``fit``.

        Returns
        -------
        numpy.ndarray
            float64 pixels, in the shape of ``y`` in ``fit``.
        """
        check_is_fitted(self)
        images = self._images.to_faces(self._check_images(X, reset=False))
        try:
            points = self.model_.predict(images, self._annotator)
        except DataError as error:
            raise ValueError(str(error)) from error
        except NoUsefulNetworkError as error:
            # No network is better than the mean of the targets: predict the mean.
            warnings.warn(str(error), stacklevel=2)
            return np.broadcast_to(self._mean, (len(images), *self._mean.shape)).copy()
        return self._targets.from_keypoints(points)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R² of the predictions, averaged over the columns of ``y``; NaN is left out.

        Parameters
        ----------
        X, y
            As for ``fit``.
        sample_weight
            (N,) weights.
        """
        from sklearn.metrics import r2_score

        predictions = self.predict(X)
        targets = np.asarray(y, np.float64).reshape(len(predictions), -1)
        predictions = predictions.reshape(targets.shape)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        values = []
        for column in range(targets.shape[1]):
            known = np.isfinite(targets[:, column])
            if known.sum() > 1:
                weight = None if weights is None else weights[known]
                values.append(
                    r2_score(
                        targets[known, column], predictions[known, column], sample_weight=weight
                    )
                )
        if not values:
            raise ValueError("y needs two labels in one column at least")
        return float(np.mean(values))

    def _check_images(self, X: ArrayLike, *, reset: bool) -> np.ndarray:
        """Return (N, H·W) rows of pixels; ``reset`` sets the size of the images."""
        shape = np.shape(X) if isinstance(X, np.ndarray) else None
        if shape is not None and len(shape) == 3:
            given: tuple[int, int] | None = (int(shape[1]), int(shape[2]))
            X = np.reshape(np.asarray(X), (shape[0], -1))
        else:
            given = None
        rows: np.ndarray = validate_data(
            self, X, reset=reset, dtype="numeric", ensure_min_samples=2 if reset else 1
        )
        if reset:
            self.image_shape_ = given or self._row_shape(rows.shape[1])
        elif given is not None and given != self.image_shape_:
            raise ValueError(f"X has images of {given}, but fit had {self.image_shape_}")
        return rows

    def _row_shape(self, values: int) -> tuple[int, int]:
        """Return height and width of images that are given as rows."""
        if self.image_shape is not None:
            height, width = map(int, self.image_shape)
            if height * width != values:
                raise ValueError(
                    f"image_shape={self.image_shape} means {height * width} values, "
                    f"but a row of X has {values}"
                )
            return height, width
        side = round(values**0.5)
        if side * side == values:
            return side, side
        warnings.warn(
            f"rows of {values} values are no square images and are read as images of one line: "
            "name the size with image_shape=(height, width)",
            stacklevel=4,
        )
        return 1, values

    @property
    def pixel_range_(self) -> tuple[float, float]:
        """The values of black and white."""
        check_is_fitted(self)
        return self._images.low, self._images.high

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether ``fit`` has trained a model."""
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn should know about this estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        # Networks for images do not learn the random tables of scikit-learn's checks.
        tags.regressor_tags.poor_score = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling; it contains the run's files."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            with tempfile.TemporaryDirectory(prefix="fkd-") as folder:
                packed = pack_run(state.pop("model_").run, Path(folder))
                state["_packed"] = packed.read_bytes()
            state.pop("_folder")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled estimator; its run is unpacked into a temporary folder."""
        packed = state.pop("_packed", None)
        super().__setstate__(state)
        if packed is not None:
            self._folder = _TemporaryFolder()
            file = self._folder.path / "packed.zip"
            file.write_bytes(packed)
            self.model_ = load(unpack_run(file, self._folder.path).path)
            file.unlink()


class _TemporaryFolder:
    """A folder that is deleted with this object, or when Python ends.

    ``tempfile.TemporaryDirectory`` issues a ResourceWarning for this use.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fkd-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

"""Tests of a run as one Keras model: the same points as ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.runs.folder import Run

pytestmark = pytest.mark.slow

MakeRun = Callable[..., Run]

TINY_CASCADE = "cascade:options.width=4,options.coarse_width=4"

TINY_HEATMAP = "heatmap-small:options.width=4"


@pytest.fixture(autouse=True)
def eager_functions() -> Iterator[None]:
    """Run TensorFlow's functions eagerly: tracing takes longer than a few faces."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def exported_and_predicted(
    predictor: Predictor, images: np.ndarray, annotator: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the exported model and of ``predict``."""
    from fkd_kaggle.export.graph import build_graph

    graph = build_graph(predictor.networks, predictor.members, predictor.blend, annotator)
    return np.asarray(graph(images)), predictor(images, annotator)


@pytest.mark.parametrize(
    ("recipes", "blend"),
    [
        ([TINY_CASCADE], "shape"),
        ([TINY_CASCADE, TINY_HEATMAP], "stack"),
        ([f"{TINY_HEATMAP},augmentation.flip=0"], "simplex"),
        (["deep15:options.filters=[4,4,8,8]", "eyes-nose", "mouth-eyebrows"], "simplex"),
        (["ffhq-transfer:options.side=32,options.weights=none,options.dense=8"], "shape"),
        (["multi-branch:options.filters=[4,4,8],options.dense=[8]"], "simplex"),
    ],
)
def test_the_exported_model_has_the_points_of_predict(
    make_run: MakeRun, faces_dir: Path, recipes: list[str], blend: str
) -> None:
    predictor = Predictor(make_run(recipes, blend))
    images = dataset.read_training(faces_dir).images[:7]
    for annotator in (COMPLETE, PARTIAL):
        exported, predicted = exported_and_predicted(predictor, images, annotator)
        assert exported.shape == (7, 15, 2)
        assert np.isfinite(predicted).all()
        np.testing.assert_allclose(exported, predicted, atol=2e-3)
    one, _ = exported_and_predicted(predictor, images[:1], COMPLETE)
    np.testing.assert_allclose(one, predictor(images[:1], COMPLETE), atol=2e-3)


def test_weights_of_single_members_and_the_mean_face_are_exported(
    make_run: MakeRun, faces_dir: Path
) -> None:
    predictor = Predictor(make_run([TINY_HEATMAP, "eyes-nose"]))
    weights = np.random.default_rng(0).uniform(size=(2, 15, len(predictor.members) + 1))
    predictor.blend = replace(predictor.blend, member_weights=weights)
    images = dataset.read_training(faces_dir).images[:5]
    for annotator in (COMPLETE, PARTIAL):
        exported, predicted = exported_and_predicted(predictor, images, annotator)
        np.testing.assert_allclose(exported, predicted, atol=2e-3)


def test_networks_of_the_other_annotator_are_left_out(make_run: MakeRun, faces_dir: Path) -> None:
    recipes = [f"{TINY_HEATMAP},rows=complete", f"{TINY_HEATMAP},rows=partial"]
    predictor = Predictor(make_run(recipes, "stack"))
    images = dataset.read_training(faces_dir).images[:3]
    exported, predicted = exported_and_predicted(predictor, images, COMPLETE)
    np.testing.assert_allclose(exported, predicted, atol=2e-3)
    with pytest.raises(RunError, match="export needs all 15"):
        exported_and_predicted(predictor, images, PARTIAL)


def test_the_exported_model_has_layers_of_keras_only(make_run: MakeRun) -> None:
    from fkd_kaggle.export.plain_layers import plain_network

    predictor = Predictor(make_run([TINY_CASCADE]))
    plain = plain_network(predictor.networks[0], "plain")
    modules = {type(layer).__module__.partition(".")[0] for layer in plain.layers}
    assert modules == {"keras"}

"""The learner: label offset, faces on the device, loss scaling."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import make_faces
from keras import ops

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes import schema
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.forward import predict_points
from fkd_kaggle.training.label_offset import label_offset
from fkd_kaggle.training.learner import Learner, make_learner, make_optimizer, shuffled_batches
from fkd_kaggle.training.network import build_network
from fkd_kaggle.training.outputs import flip_order

pytestmark = pytest.mark.slow

TINY = Recipe(
    "tiny",
    architecture="heatmap",
    options={"width": 8, "depth": 1},
    heatmap_loss=0.5,
    epochs=2,
    batch_size=8,
)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_label_offset_is_learned_from_mirrored_views(policy: str) -> None:
    """Without the layer, mirrored views make the network learn the middle."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    recipe = replace(TINY, label_offset=True, loss="mse")
    network = build_network(recipe)
    learner = Learner(network, recipe, seed=0)
    learner.compile(optimizer=keras.optimizers.Adam(0.01))
    faces = make_faces(16, seed=3)
    order = flip_order(recipe)
    before = predict_points(network, faces.images, order)
    # Labels 4 pixels to the right of the predictions, for every face and output.
    shifted = before + np.array([4.0, 0.0], np.float32)
    for _ in range(80):
        learner.train_on_batch(faces.images, shifted)
    offset = ops.convert_to_numpy(label_offset(network))
    assert np.all(offset[:, 0] > 2.0)
    right, down = offset.mean(0)
    assert right == pytest.approx(4.0, abs=0.5)
    # Single outputs also learn from the untrained network's errors on rotated views.
    assert down == pytest.approx(0.0, abs=0.5)
    assert np.abs(offset[:, 1]).mean() < 0.6


def test_row_numbers_select_the_faces_on_the_device() -> None:
    recipe = replace(TINY, augmentation=schema.AUGMENTATIONS["none"])
    faces = make_faces(8, seed=3)
    network = build_network(recipe)
    rows = np.array([5, 2, 7], np.int32)
    by_row = Learner(network, recipe, 0, faces.images)(rows)
    by_face = Learner(network, recipe, 0)(faces.images[rows])
    np.testing.assert_allclose(by_row, by_face, atol=1e-5)


def test_a_heatmap_loss_needs_heatmaps() -> None:
    recipe = replace(TINY, architecture="region", options={"filters": [4]})
    with pytest.raises(RecipeError, match="needs an architecture with heatmaps"):
        Learner(build_network(recipe), recipe, 0)


def test_batches_are_full_and_contain_every_face_equally_often() -> None:
    faces = make_faces(12, seed=3)
    batches = shuffled_batches(faces, TINY, 0)
    rows = [next(batches)[0] for _ in range(3)]
    assert [len(batch) for batch in rows] == [8, 8, 8]
    assert np.bincount(np.concatenate(rows)).tolist() == [2] * 12


def test_mixed_float16_scales_the_loss() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    learner = make_learner(Member("m", TINY, 0, 0, 1.0), make_faces(4, seed=0))
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer)
    # The schedule and the checkpoint reach the inner optimizer.
    learner.optimizer.learning_rate = 0.125
    learner.optimizer.build(learner.network.trainable_variables)
    inner = learner.optimizer.inner_optimizer
    assert float(inner.learning_rate) == 0.125
    saved = {id(variable) for variable in learner.optimizer.variables}
    assert {id(variable) for variable in inner.variables} < saved


def test_float16_on_several_devices_has_a_fixed_loss_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' own loss scaling checks only the gradients of the first device for overflow."""
    keras.config.set_dtype_policy("mixed_float16")
    assert make_optimizer(TINY).loss_scale_factor is None
    monkeypatch.setattr(backend, "_strategy", object())
    for name in schema.OPTIMIZERS:
        optimizer = make_optimizer(replace(TINY, optimizer=name))
        assert optimizer.loss_scale_factor == 256.0
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert make_optimizer(TINY).loss_scale_factor is None

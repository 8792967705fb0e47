"""Prediction with one network: batches, mirror images, label offset, XLA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import make_faces
from keras import ops

from fkd_kaggle.errors import RunError
from fkd_kaggle.nn import backend
from fkd_kaggle.nn.warp import to_grey
from fkd_kaggle.recipes.schema import Augmentation, Recipe
from fkd_kaggle.training.crop_search import predict_with_crop_search
from fkd_kaggle.training.forward import predict_points, predict_with_flip_disagreement
from fkd_kaggle.training.inference import predict_keypoints
from fkd_kaggle.training.network import build_network, load_network
from fkd_kaggle.training.outputs import flip_order, to_keypoints

pytestmark = pytest.mark.slow

TINY = Recipe("tiny", architecture="heatmap", options={"width": 8, "depth": 1})


class WithoutXlaKernel(keras.layers.Layer):
    """The identity, by an image transformation for which TensorFlow has no XLA kernel."""

    def call(self, images: Any) -> Any:
        identity = ops.convert_to_tensor([[1.0, 0, 0, 0, 1, 0, 0, 0]])
        transform = ops.tile(identity, (ops.shape(images)[0], 1))
        return ops.image.affine_transform(images, transform)

    def compute_output_shape(self, shape: Any) -> tuple[Any, ...]:
        return tuple(shape)


@pytest.mark.parametrize("crop_search", [False, True])
def test_keypoints_are_the_outputs_of_the_annotator(crop_search: bool) -> None:
    network = build_network(TINY)
    images = make_faces(4, seed=5).images
    annotators = np.array([0, 1, 0, 1], np.uint8)
    predict = predict_with_crop_search if crop_search else predict_points
    expected = to_keypoints(predict(network, images, flip_order(TINY)), TINY, annotators)
    found = predict_keypoints(network, TINY, images, annotators, crop_search=crop_search)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_keypoints_are_not_averaged_with_mirror_images_if_training_does_not_mirror() -> None:
    recipe = replace(TINY, augmentation=Augmentation(flip=0))
    network = build_network(recipe)
    images, annotators = make_faces(3, seed=5).images, np.zeros(3, np.uint8)
    found = predict_keypoints(network, recipe, images, annotators, crop_search=True)
    expected = to_keypoints(predict_points(network, images, None), recipe, annotators)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_predictions_do_not_depend_on_the_batch() -> None:
    network = build_network(TINY)
    images = make_faces(300, seed=5).images
    order = flip_order(TINY)
    together = predict_points(network, images, order)
    alone = predict_points(network, images[290:], order)
    np.testing.assert_allclose(together[290:], alone, atol=1e-3)


def test_the_prediction_for_a_mirrored_face_is_mirrored() -> None:
    """Averaging over a face and its mirror image makes predictions symmetric."""
    network = build_network(TINY)
    images = make_faces(4, seed=5).images
    order = flip_order(TINY)
    straight = predict_points(network, images, order)
    mirrored = predict_points(network, images[:, :, ::-1], order)[:, order]
    mirrored[..., 0] = 95 - mirrored[..., 0]
    np.testing.assert_allclose(mirrored, straight, atol=1e-3)


def test_without_mirror_images_predictions_are_the_networks_outputs() -> None:
    network = build_network(TINY)
    images = make_faces(300, seed=5).images
    points, disagreement = predict_with_flip_disagreement(network, images, None)
    outputs = ops.convert_to_numpy(network(to_grey(images[250:])))
    np.testing.assert_allclose(points[250:], outputs, atol=1e-3)
    assert not disagreement.any()


def test_the_label_offset_is_added_after_mirroring_is_undone() -> None:
    recipe = replace(TINY, label_offset=True)
    network = build_network(recipe)
    images = make_faces(3, seed=4).images
    order = flip_order(recipe)
    before = predict_points(network, images, order)
    layer = network.get_layer("label_offset")
    layer.kernel.assign(np.full(layer.kernel.shape, 1 / layer.unit, np.float32))
    after = predict_points(network, images, order)
    np.testing.assert_allclose(after, before + 1.0, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_xla_cannot_compile_predicts_without_xla(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = make_faces(3, seed=5).images
    network = build_network(TINY)
    plain = predict_points(network, images, None)
    # As on a GPU, with an operation that has no XLA kernel.
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)
    image = keras.Input((96, 96, 1))
    uncompilable = keras.Model(image, network(WithoutXlaKernel()(image)))
    with pytest.warns(UserWarning, match="XLA failed, training goes on without it"):
        found = predict_points(uncompilable, images, None)
    np.testing.assert_allclose(found, plain, atol=1e-3)
    assert not backend.uses_xla()


def test_damaged_weights_are_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "best.weights.h5").write_bytes(b"junk")
    with pytest.raises(RunError, match="missing or damaged"):
        load_network(TINY, tmp_path)

"""The cascade: alignment of faces, training of both networks, and XLA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import make_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import ndimage

from fkd_kaggle import models
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.models.cascade import Frame
from fkd_kaggle.nn import backend, warp
from fkd_kaggle.recipes.schema import Augmentation, Recipe
from fkd_kaggle.training import augmentation, forward
from fkd_kaggle.training.label_offset import label_offset
from fkd_kaggle.training.learner import Learner, compile_learner, make_optimizer
from fkd_kaggle.training.network import build_network, initialize_at_mean_face
from fkd_kaggle.training.outputs import flip_order, label_targets

pytestmark = pytest.mark.slow

TINY = Recipe(
    "tiny",
    architecture="cascade",
    options={"width": 8, "depth": 1, "coarse_width": 8},
    heatmap_loss=0.5,
    label_offset=True,
    epochs=1,
    batch_size=8,
)

FACE = np.array([[66, 37], [30, 37], [48, 60], [60, 75], [36, 75]], np.float32)


def seed() -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(0)


def frame_of(points: np.ndarray, training: bool = False) -> np.ndarray:
    layer = Frame(len(FACE), zoom=1.1, jitter=1.0)
    layer.build((None, *points.shape[1:]))
    layer.set_mean_face(FACE)
    return ops.convert_to_numpy(layer(points, training=training))


@settings(deadline=None, max_examples=30)
@given(
    angle=st.floats(-0.6, 0.6),
    scale=st.floats(0.7, 1.5),
    right=st.floats(-15, 15),
    down=st.floats(-15, 15),
)
def test_the_frame_undoes_rotation_scale_and_shift(
    angle: float, scale: float, right: float, down: float
) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    changed = ((FACE - 48) @ turn.T + 48 + [right, down]).astype(np.float32)
    plain, moved = frame_of(np.stack([FACE, changed]))
    seen = [
        ops.convert_to_numpy(warp.inverse_transform_points(points[None], matrix[None]))[0]
        for points, matrix in ((FACE, plain), (changed, moved))
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=0.02)
    # The face is centred and a tenth larger than the mean face.
    np.testing.assert_allclose((seen[0].max(0) + seen[0].min(0)) / 2, warp.CENTRE, atol=0.02)
    np.testing.assert_allclose(np.ptp(seen[0], 0), 1.1 * np.ptp(FACE, 0), atol=0.05)


def test_implausible_points_give_the_identity() -> None:
    nowhere = np.full((1, len(FACE), 2), 20.0, np.float32)
    matrix = frame_of(nowhere)[0]
    np.testing.assert_allclose(matrix[:, :2], np.eye(2), atol=1e-5)
    assert np.abs(matrix[:, 2]).max() < 96


def test_alignment_is_jittered_in_training_only() -> None:
    faces = np.repeat(FACE[None], 4, axis=0)
    still, again = frame_of(faces), frame_of(faces)
    np.testing.assert_array_equal(still, again)
    disturbed = frame_of(faces, training=True)
    assert np.abs(disturbed - still).max() > 0.5
    assert np.abs(disturbed[:, :, :2] - still[:, :, :2]).max() < 0.5


def test_a_smaller_aligned_image_is_the_middle_of_a_larger_one() -> None:
    images = np.random.default_rng(0).uniform(size=(3, 96, 96, 1)).astype("float32")
    aligned = {}
    for size in (80, 96):
        network = build_network(replace(TINY, options={**TINY.options, "frame_size": size}))
        face = np.tile(FACE, (3, 1))
        initialize_at_mean_face(network, face)
        # Points of the first network that make an alignment plausible.
        frame = network.get_layer("frame")(np.stack([face, face + 3, 1.2 * face - 10]))
        aligned[size] = ops.convert_to_numpy(network.get_layer("upright")([images, frame]))
        points = ops.convert_to_numpy(network(images))
        assert points.shape[0] == 3 and np.isfinite(points).all()
    assert aligned[80].shape == (3, 80, 80, 1)
    np.testing.assert_allclose(aligned[80], aligned[96][:, 8:88, 8:88], atol=1e-3)


@pytest.mark.parametrize("size", [0, 40, 84, 112])
def test_an_impossible_size_of_the_aligned_image_is_an_error(size: int) -> None:
    recipe = replace(TINY, options={"depth": 2, "frame_size": size})
    with pytest.raises(RecipeError, match=f"frame_size is {size}: .* multiple of 16, at most 96"):
        build_network(recipe)


@pytest.mark.slow
def test_training_changes_all_weights_of_both_networks() -> None:
    keras.utils.set_random_seed(0)
    network = build_network(TINY)
    faces = make_faces(16, seed=3)
    initialize_at_mean_face(network, np.nanmean(label_targets(faces, TINY), 0))
    learner = Learner(network, TINY, seed=0)
    learner.compile(optimizer=keras.optimizers.Adam(2e-3))
    labels = label_targets(faces, TINY)
    before = {weight.path: ops.convert_to_numpy(weight) for weight in network.trainable_weights}
    losses = [float(learner.train_on_batch(faces.images, labels)) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    still = [
        weight.path
        for weight in network.trainable_weights
        if np.array_equal(before[weight.path], ops.convert_to_numpy(weight))
    ]
    assert still == []


@pytest.mark.slow
def test_training_interpolates_each_input_once() -> None:
    keras.utils.set_random_seed(0)
    recipe = replace(TINY, label_offset=False, options={**TINY.options, "jitter": 0.0, "zoom": 2.0})
    network = build_network(recipe)
    names = ("coarse_points", "coarse_maps", "frame", "maps")
    inner = {name: network.get_layer(name).output for name in names}
    both = keras.Model(network.input, {"points": network.output, **inner})
    view = augmentation.draw_view(
        4, replace(recipe.augmentation, rotation=5, scale=0.03, shift=2), seed()
    )
    forward_through_views = models.forward_through_views("cascade", network)
    noise = np.random.default_rng(0).uniform(size=(4, 96, 96, 1)).astype("float32")
    smooth = ndimage.gaussian_filter(noise, (0, 4, 4, 0))

    def differences(images: np.ndarray) -> dict[str, float]:
        # A mean face near the untrained network's predictions, so that the similarity is plausible.
        points = ops.convert_to_numpy(both(view.warp(images))["coarse_points"])
        network.get_layer("frame").set_mean_face(points.mean(0))
        at_once, in_turn = forward_through_views(images, view), both(view.warp(images))
        assert at_once.keys() == in_turn.keys()
        turned = ops.convert_to_numpy(in_turn["frame"])[:, :, :2]
        assert np.abs(turned - np.eye(2)).max() > 0.02
        return {
            name: float(ops.mean(ops.abs(at_once[name] - one)) / ops.std(one))
            for name, one in in_turn.items()
        }

    # Interpolating twice hardly changes smooth images and strongly changes noise.
    off = differences(smooth)
    assert all(value < 0.2 for value in off.values()), off
    off = differences(noise)
    assert off["maps"] > 0.5 and off["coarse_maps"] > 0.25, off


@pytest.mark.slow
def test_xla_compiles_training_and_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Kaggle's T4s: every operation of a training step must have an XLA kernel."""
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)
    keras.config.set_dtype_policy("mixed_float16")
    strong = Augmentation(
        stretch=0.05,
        shear=0.05,
        zoom_out=0.2,
        gain=0.1,
        lighting_gradient=0.2,
        blur=0.5,
        random_erasing=0.5,
    )
    recipe = replace(TINY, optimizer="muon", augmentation=strong)
    faces = make_faces(16, seed=2)
    network = build_network(recipe)
    learner = Learner(network, recipe, 0, faces.images)
    compile_learner(learner, make_optimizer(recipe))
    assert learner.jit_compile
    assert learner.steps_per_execution == 8
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer)
    labels = label_targets(faces, recipe)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield np.arange(16, dtype=np.int32), labels

    before = [ops.convert_to_numpy(one) for one in network.trainable_variables]
    history = learner.fit(batches(), steps_per_epoch=8, epochs=1, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    moved = [
        np.abs(ops.convert_to_numpy(one) - old).max() > 0
        for one, old in zip(network.trainable_variables, before, strict=True)
    ]
    assert np.mean(moved) > 0.9
    order = flip_order(recipe)
    compiled = forward.predict_points(network, faces.images, order)
    assert backend.uses_xla()  # no failure has disabled XLA
    plain = ops.convert_to_numpy(network(warp.to_grey(faces.images), training=False))
    mirrored = ops.convert_to_numpy(
        network(warp.to_grey(faces.images[:, :, ::-1]), training=False)
    )[:, order]
    mirrored[..., 0] = 95 - mirrored[..., 0]
    offset = ops.convert_to_numpy(label_offset(network))
    np.testing.assert_allclose(compiled, (plain + mirrored) / 2 + offset, atol=0.2)

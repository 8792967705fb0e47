"""Predictions of a run: when its blend is used, when it is refused, and the flip disagreement."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fkd_kaggle.ensemble import prediction
from fkd_kaggle.ensemble.member_predictions import usable_members
from fkd_kaggle.ensemble.prediction import Predictor, load_run_blend
from fkd_kaggle.errors import RunError
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import store_blend

OLD_RUN = Path(__file__).parents[1] / "data/old_run/runs/old_run"

Arrays = dict[str, np.ndarray]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of four networks whose blend is stored as this version stores it."""
    run = Run.open(shutil.copytree(OLD_RUN, tmp_path / "old_run"))
    blend = load_run_blend(run, usable_members(run))
    store_blend(run, blend.recipes, blend.arrays())
    return run


def test_a_stored_blend_is_kept_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has no time to blend again after its time limit."""
    blended: list[Any] = []
    run = SimpleNamespace(check_data=lambda fingerprint: None, status="time limit")
    blend = SimpleNamespace(members=(), apply=lambda predictions, annotators: predictions)
    points = np.zeros((1, 15, 2), np.float32)
    for name, value in {
        "usable_members": lambda run: [],
        "has_blend": lambda run: True,
        "is_blend_current": lambda run: False,
        "blend_run": lambda run, data_dir: blended.append(run),
        "load_run_blend": lambda run, members: blend,
        "predict_with_members": lambda *arguments: points,
        "dataset": SimpleNamespace(fingerprint=lambda data_dir: ""),
    }.items():
        monkeypatch.setattr(prediction, name, value)
    predict: Any = prediction.predict_run
    annotators = np.zeros(1, np.uint8)
    np.testing.assert_array_equal(predict(run, Path(), None, annotators, reblend=False), points)
    assert blended == []
    np.testing.assert_array_equal(predict(run, Path(), None, annotators), points)
    # Without a status, blend_run keeps the status of the run.
    assert blended == [run]


def test_a_stored_blend_names_the_members_that_predict(run: Run) -> None:
    members = usable_members(run)
    blend = load_run_blend(run, members)
    assert blend.members == tuple(member.name for member in members)
    reordered = load_run_blend(run, members[::-1])
    assert reordered.members == blend.members


DAMAGES: dict[str, Callable[[Arrays], object]] = {
    "weights of another number of recipes": lambda arrays: arrays.update(
        weights=np.full((2, 15, 3), 1 / 3)
    ),
    "weights of another number of keypoints": lambda arrays: arrays.update(
        weights=np.full((2, 14, 2), 0.5)
    ),
    "weights that are texts": lambda arrays: arrays.update(weights=np.full((2, 15, 2), "x")),
    "weights that are not finite": lambda arrays: arrays.update(
        weights=np.full((2, 15, 2), np.nan)
    ),
    "weights of another number of members": lambda arrays: arrays.update(
        member_weights=np.full((2, 15, 2), 0.5)
    ),
    "mean face of one annotator": lambda arrays: arrays.update(mean_face=np.zeros((15, 2))),
    "no mean face": lambda arrays: arrays.pop("mean_face"),
    "unknown member": lambda arrays: arrays.update(
        members=np.array(["other-f0", *arrays["members"][1:]])
    ),
    "member of another recipe": lambda arrays: arrays.update(owners=arrays["owners"][::-1]),
    "fewer owners": lambda arrays: arrays.update(owners=arrays["owners"][1:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_blend_that_does_not_fit_is_refused_when_it_is_loaded(run: Run, damage: str) -> None:
    blend = load_run_blend(run, usable_members(run))
    arrays = blend.arrays()
    DAMAGES[damage](arrays)
    store_blend(run, blend.recipes, arrays)
    with pytest.raises(RunError) as caught:
        Predictor(run)
    assert "blend again with `fkd-kaggle train-ensemble --resume old_run`" in str(caught.value)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no file of NumPy"])
def test_a_missing_and_a_damaged_blend_have_the_same_remedy(
    run: Run, content: bytes | None
) -> None:
    """The run is finished: it was not stopped, and nothing but the blend is missing."""
    path = run.path / "blend.npz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        Predictor(run)
    assert str(path) in str(caught.value)
    assert "blend again with `fkd-kaggle train-ensemble --resume old_run`" in str(caught.value)
    assert "stopped" not in str(caught.value)


def make_predictor(members: list[Any], networks: list[Any], **attributes: Any) -> Predictor:
    """Return a predictor without loaded networks."""
    predictor = object.__new__(Predictor)
    vars(predictor).update(members=members, networks=networks, **attributes)
    return predictor


def test_a_wrong_annotator_is_not_taken_for_a_damaged_blend(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(network: object, recipe: object, images: np.ndarray, *_: Any, **__: Any) -> Any:
        return np.zeros((len(images), 15, 2), np.float32)

    monkeypatch.setattr(prediction, "predict_keypoints", predict)
    members = usable_members(run)
    blend = load_run_blend(run, members)
    predictor = make_predictor(members, [None] * len(members), run=run, blend=blend)
    images = np.zeros((1, 96, 96), np.uint8)
    assert predictor(images, 1).shape == (1, 15, 2)
    with pytest.raises(IndexError):
        predictor(images, 2)


def test_faces_without_a_network_of_their_annotator_have_no_disagreement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0 would be perfect agreement."""
    monkeypatch.setattr(prediction, "flip_disagreement", lambda network, *_: network)
    members = [
        SimpleNamespace(fold=fold, recipe=SimpleNamespace(rows="complete")) for fold in (0, 1)
    ]
    values = [np.array([3.0, 3.0, 3.0], np.float32), np.array([4.0, 4.0, 4.0], np.float32)]
    predictor = make_predictor(members, values)
    images = np.zeros((3, 96, 96), np.uint8)
    annotators = np.array([0, 1, 0], np.uint8)
    both = np.sqrt(12.5)
    found = predictor.disagreement(images, annotators)
    assert found == pytest.approx([both, np.nan, both], nan_ok=True)
    found = predictor.disagreement(images, annotators, fold=1)
    assert found == pytest.approx([4.0, np.nan, 4.0], nan_ok=True)
    partial = np.ones(3, np.uint8)
    np.testing.assert_array_equal(predictor.disagreement(images, partial), [np.nan] * 3)
    assert make_predictor(members, [None, None]).disagreement(images, annotators) is None

"""Numbers of faces that recipes are trained on, compared with the preprocessing of a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TRAIN, make_faces, write_competition

from fkd_kaggle.data import folds
from fkd_kaggle.ensemble import face_counts
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import OfflineCopy
from fkd_kaggle.training import preprocessing


@pytest.mark.parametrize(
    ("name", "faces"),
    [
        # Half of the faces are the partial annotator's; a fifth is held out.
        ("cascade:split=random", 160),
        ("heatmap-small:rows=complete,split=random", 80),
        ("heatmap-small:rows=partial,split=random", 80),
        ("multi-branch", 80),
        ("kachanovska-eyes-nose", 80),
        ("farhat", 160),
        ("farhat:validation=0.25", 120),
        ("multi-branch:validation=0.25", 60),
    ],
)
def test_as_many_faces_are_counted_as_are_trained_on(name: str, faces: int) -> None:
    training = make_faces(200, seed=3)
    plan = make_plan(TrainingOptions((name,)))
    ensemble, member = plan.ensemble, plan.members[0]
    counted = face_counts.count_faces(member.recipe, ensemble, training)
    assert counted == pytest.approx(faces, abs=1)
    assigned = folds.assign_folds(
        training, ensemble.folds, 0, how=ensemble.split, held_out=ensemble.held_out
    )
    others = training.take(np.nonzero(assigned != member.fold)[0])
    prepared = preprocessing.prepare_faces(member.recipe, others, ensemble.split, member.seed)
    # The random split does not divide the annotators' faces equally.
    assert len(prepared.training.images) == pytest.approx(counted, abs=12)


def test_only_faces_without_missing_labels_are_copied() -> None:
    training = make_faces(200, seed=3)
    plan = make_plan(TrainingOptions(("multi-branch", "farhat", "cascade"), folds=10))
    copies = (OfflineCopy(flip=True), OfflineCopy(gain=0.8))
    found = [
        face_counts.count_faces(
            replace(line.recipe, offline_augmentation=copies), plan.ensemble, training
        )
        for line in plan.ensemble.members
    ]
    # 90 faces of each annotator. Those of the partial annotator are left out by multi-branch, lack
    # labels of farhat's outputs, and have all labels of their own outputs of cascade.
    assert found == [3 * 90, 3 * 90 + 90, 3 * 180]


def test_members_do_not_get_the_copies_of_others() -> None:
    plan = make_plan(TrainingOptions(("kartalovic", "cascade"), folds=10))
    count = face_counts.face_counter(plan.ensemble, make_faces(200, seed=3))
    copied, plain = (count(line.recipe) for line in plan.ensemble.members)
    assert plain == 180
    # Ten copies and the original, without a tenth for validation.
    assert copied == 11 * 90 * 0.9


def test_a_split_after_augmentation_holds_out_twice() -> None:
    plan = make_plan(TrainingOptions(("kartalovic-leaky",)))
    (line,) = plan.ensemble.members
    found = face_counts.count_faces(line.recipe, plan.ensemble, make_faces(200, seed=3))
    assert found == round(11 * 100 * 0.85 * 0.85 * 0.9)


def test_grouped_shares_are_rounded_to_equal_folds() -> None:
    plan = make_plan(TrainingOptions(("cascade:validation=0.4",), folds=10))
    (line,) = plan.ensemble.members
    found = face_counts.count_faces(line.recipe, plan.ensemble, make_faces(200, seed=3))
    assert found == 90  # half of 180


def test_the_original_has_known_numbers_of_faces() -> None:
    labels = face_counts.original_labels()
    plan = make_plan(TrainingOptions(("cascade", "multi-branch"), folds=10))
    count = face_counts.face_counter(plan.ensemble, labels)
    assert [count(line.recipe) for line in plan.ensemble.members] == [6344, 1926]
    assert int((labels.annotators == 0).sum()) == 2284


def test_labels_are_read_without_images(tmp_path: Path) -> None:
    write_competition(tmp_path / "data")
    labels = face_counts.read_labels(tmp_path / "data")
    assert labels.images.shape == (TRAIN, 0)
    assert labels.keypoints.shape == (TRAIN, 15, 2)

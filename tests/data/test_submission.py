"""Submissions: built in the lookup table's order, checked, written with a record, listed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd_kaggle import files, keypoints
from fkd_kaggle.data import submission, submission_file
from fkd_kaggle.data.faces import Lookup
from fkd_kaggle.data.submission import Submission
from fkd_kaggle.errors import SubmissionError

NOW = datetime(2026, 3, 1, 14, 5, 9, tzinfo=UTC)


def make_lookup(faces: int, seed: int = 0) -> Lookup:
    """Return a table that queries all coordinates of faces 1 to ``faces``, in random order."""
    shuffled = np.random.default_rng(seed).permutation(faces * len(keypoints.COLUMNS))
    return Lookup(
        row_ids=np.arange(1, len(shuffled) + 1, dtype=np.int64),
        image_ids=(shuffled // len(keypoints.COLUMNS) + 1).astype(np.int64),
        features=(shuffled % len(keypoints.COLUMNS)).astype(np.int16),
    )


def make_predictions(faces: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-5, 101, (faces, keypoints.NUM_KEYPOINTS, 2)).astype(np.float32)


def make_submission(faces: int = 2) -> tuple[Submission, Lookup]:
    lookup = make_lookup(faces)
    return submission.build_submission(
        make_predictions(faces), np.arange(1, faces + 1), lookup
    ), lookup


def test_each_row_gets_the_queried_coordinate() -> None:
    predictions = np.zeros((2, keypoints.NUM_KEYPOINTS, 2), dtype=np.float32)
    predictions[1, keypoints.KEYPOINT_NAMES.index("nose_tip")] = (48.25, 60.5)
    nose_y = keypoints.COLUMNS.index("nose_tip_y")
    lookup = Lookup(np.array([1, 2]), np.array([9, 4]), np.array([nose_y, nose_y], dtype=np.int16))
    built = submission.build_submission(predictions, np.array([4, 9]), lookup)
    assert built.locations.tolist() == [60.5, 0.0]


@given(faces=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_order_of_the_predictions_does_not_matter(faces: int, seed: int) -> None:
    lookup, predictions = make_lookup(faces, seed), make_predictions(faces, seed)
    ids = np.arange(1, faces + 1)
    shuffled = np.random.default_rng(seed).permutation(faces)
    in_order = submission.build_submission(predictions, ids, lookup)
    out_of_order = submission.build_submission(predictions[shuffled], ids[shuffled], lookup)
    np.testing.assert_array_equal(in_order.locations, out_of_order.locations)


@given(faces=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_order_of_the_lookup_table_is_kept(faces: int, seed: int) -> None:
    lookup, predictions = make_lookup(faces, seed), make_predictions(faces, seed)
    ids = np.arange(1, faces + 1)
    shuffled = np.random.default_rng(seed + 1).permutation(len(lookup.row_ids))
    other = Lookup(lookup.row_ids[shuffled], lookup.image_ids[shuffled], lookup.features[shuffled])
    built, other_built = (
        submission.build_submission(predictions, ids, table) for table in (lookup, other)
    )
    np.testing.assert_array_equal(built.row_ids[shuffled], other_built.row_ids)
    np.testing.assert_array_equal(built.locations[shuffled], other_built.locations)


@given(value=st.floats(-1e6, 1e6, width=32))
def test_locations_are_clipped_to_the_image(value: float) -> None:
    predictions = np.full((1, keypoints.NUM_KEYPOINTS, 2), value, dtype=np.float32)
    lookup = make_lookup(1)
    built = submission.build_submission(predictions, np.array([1]), lookup)
    submission.validate_submission(built, lookup)
    assert np.allclose(built.locations, min(max(value, 0.0), 96.0), atol=1e-5)


def test_a_missing_prediction_is_named() -> None:
    with pytest.raises(SubmissionError, match=r"RowId \d+ asks for ImageId 3\b.*fetch --force"):
        submission.build_submission(make_predictions(2), np.array([1, 2]), make_lookup(3))


def test_a_face_predicted_twice_is_named() -> None:
    with pytest.raises(SubmissionError, match="ImageId 2 was predicted 2 times"):
        submission.build_submission(make_predictions(3), np.array([1, 2, 2]), make_lookup(2))


def test_an_empty_test_set_is_refused() -> None:
    with pytest.raises(SubmissionError, match="test set is empty"):
        submission.build_submission(
            make_predictions(0), np.zeros(0, dtype=np.int64), make_lookup(1)
        )


def test_a_prediction_that_is_not_finite_is_named() -> None:
    predictions = make_predictions(2)
    predictions[1, keypoints.KEYPOINT_NAMES.index("nose_tip"), 0] = np.nan
    with pytest.raises(SubmissionError, match=r"ImageId 2, nose_tip_x\) is nan"):
        submission.build_submission(predictions, np.array([1, 2]), make_lookup(2))


def test_predictions_of_another_shape_are_refused() -> None:
    with pytest.raises(SubmissionError, match=r"\(2, 15, 2\), not \(2, 30\)"):
        submission.build_submission(np.zeros((2, 30)), np.array([1, 2]), make_lookup(2))


def test_built_submissions_are_valid() -> None:
    submission.validate_submission(*make_submission())


@pytest.mark.parametrize(
    ("location", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-0.001, "-0.001"), (96.5, "96.5")]
)
def test_the_first_location_outside_the_image_is_named(location: float, shown: str) -> None:
    built, lookup = make_submission()
    built.locations[[4, 7]] = location
    with pytest.raises(SubmissionError, match=f"RowId 5 has the location {shown}:"):
        submission.validate_submission(built, lookup)


def test_a_repeated_row_is_named() -> None:
    built, lookup = make_submission()
    built.row_ids[3] = 3
    with pytest.raises(SubmissionError, match="RowId 3 occurs 2 times"):
        submission.validate_submission(built, lookup)


def test_a_missing_row_is_named() -> None:
    built, lookup = make_submission()
    short = Submission(np.delete(built.row_ids, 6), np.delete(built.locations, 6))
    with pytest.raises(SubmissionError, match="RowId 7 is missing: the submission has 59"):
        submission.validate_submission(short, lookup)


def test_an_unknown_row_is_named() -> None:
    built, lookup = make_submission()
    long = Submission(np.append(built.row_ids, 999), np.append(built.locations, 1.0))
    with pytest.raises(SubmissionError, match="RowId 999 is not in the lookup table"):
        submission.validate_submission(long, lookup)


def test_rows_can_have_any_order() -> None:
    built, lookup = make_submission()
    reversed_rows = replace(built, row_ids=built.row_ids[::-1], locations=built.locations[::-1])
    submission.validate_submission(reversed_rows, lookup)


@given(locations=st.lists(st.floats(0, 96, allow_nan=False), min_size=1, max_size=20))
def test_submissions_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, locations: list[float]
) -> None:
    written = Submission(np.arange(1, len(locations) + 1), np.array(locations))
    path = submission.write_submission(written, tmp_path_factory.mktemp("s"), "run", NOW, {})
    read = submission_file.read_submission(path)
    np.testing.assert_array_equal(read.row_ids, written.row_ids)
    np.testing.assert_array_equal(read.locations, written.locations)


def test_the_file_has_the_format_of_kaggle(tmp_path: Path) -> None:
    path = submission.write_submission(
        Submission(np.array([1, 2]), np.array([66.5, 0.0])), tmp_path, "Big run/2", NOW, {}
    )
    assert path.name == "20260301-140509-Big-run-2.csv"
    assert path.read_bytes() == b"RowId,Location\n1,66.5\n2,0.0\n"


def test_two_submissions_of_one_second_keep_both(tmp_path: Path) -> None:
    built, _ = make_submission()
    paths = {submission.write_submission(built, tmp_path, "run", NOW, {}) for _ in range(3)}
    assert len(paths) == 3
    assert {path.with_suffix(".json") for path in paths} <= set(tmp_path.iterdir())


def test_the_record_names_run_recipes_and_content(tmp_path: Path) -> None:
    built, _ = make_submission()
    notes = {"recipes": {"deep15": "ab12"}, "scores": {"combined": 2.1, "expected": 2.0}}
    path = submission.write_submission(built, tmp_path, "run", NOW, notes)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["run"] == "run"
    assert record["recipes"] == {"deep15": "ab12"}
    assert record["sha256"] == files.sha256(path)
    assert record["rows"] == 60
    assert record["kaggle"] is None


def test_submissions_are_listed_newest_first_with_their_scores(tmp_path: Path) -> None:
    built, _ = make_submission()
    first = submission.write_submission(built, tmp_path, "a", NOW, {"scores": {"expected": 2.0}})
    second = submission.write_submission(built, tmp_path, "b", NOW.replace(hour=15), {})
    submission.record_score(first, ref=17, public_score=2.04, private_score=None)
    newest, oldest = submission.list_submissions(tmp_path)
    assert (newest.path, newest.run, newest.expected, newest.ref) == (second, "b", None, None)
    assert (oldest.path, oldest.run, oldest.expected, oldest.created) == (first, "a", 2.0, NOW)
    assert (oldest.ref, oldest.public_score, oldest.private_score) == (17, 2.04, None)


def test_recording_a_score_keeps_the_rest_of_the_record(tmp_path: Path) -> None:
    built, _ = make_submission()
    path = submission.write_submission(built, tmp_path, "run", NOW, {"recipes": {"deep15": "ab12"}})
    submission.record_score(path, ref=1, public_score=None, private_score=None)
    submission.record_score(path, ref=1, public_score=1.5, private_score=1.6)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["recipes"] == {"deep15": "ab12"}
    assert record["kaggle"] == {"ref": 1, "public_score": 1.5, "private_score": 1.6}


NOTES = {"recipes": {"deep15": "ab12"}, "scores": {"expected": 2.0}, "data": "12", "runs": ["a"]}


def test_an_edited_file_does_not_have_the_scores_of_its_run(tmp_path: Path) -> None:
    built, _ = make_submission()
    path = submission.write_submission(built, tmp_path, "run", NOW, NOTES)
    path.write_text(path.read_text() + "\n")
    (listed,) = submission.list_submissions(tmp_path)
    assert (listed.run, listed.runs, listed.expected, listed.created) == ("", (), None, NOW)
    submission.record_score(path, ref=1, public_score=None, private_score=None, waiting=True)
    submission.record_score(path, ref=1, public_score=1.5, private_score=None)
    record = json.loads(path.with_suffix(".json").read_text())
    assert not record.keys() & {"run", "runs", "recipes", "scores", "data"}
    assert record["sha256"] == files.sha256(path)
    assert submission.read_run_scores(path) is None
    (listed,) = submission.list_submissions(tmp_path)
    assert (listed.run, listed.expected, listed.public_score) == ("", None, 1.5)


def test_a_file_edited_after_its_upload_names_the_uploaded_run(tmp_path: Path) -> None:
    built, _ = make_submission()
    path = submission.write_submission(built, tmp_path, "run", NOW, NOTES)
    submission.record_score(path, ref=1, public_score=1.5, private_score=None, waiting=True)
    (listed,) = submission.list_submissions(tmp_path)
    assert (listed.run, listed.runs, listed.expected) == ("run", ("a",), 2.0)
    path.write_text("RowId,Location\n1,2\n")
    (listed,) = submission.list_submissions(tmp_path)
    assert (listed.run, listed.runs, listed.expected) == ("run", ("a",), None)


def test_files_without_a_valid_record_are_listed(tmp_path: Path) -> None:
    built, _ = make_submission()
    submission.write_submission(built, tmp_path, "run", NOW, {}).with_suffix(".json").write_text(
        "{"
    )
    (tmp_path / "by-hand.csv").write_text("RowId,Location\n1,2\n")
    assert [entry.expected for entry in submission.list_submissions(tmp_path)] == [None, None]


def test_a_submission_without_a_score_is_found_again(tmp_path: Path) -> None:
    built, _ = make_submission()
    path = submission.write_submission(built, tmp_path, "run", NOW, {})
    assert submission.find_waiting(path) is None
    submission.record_score(path, ref=7, public_score=None, private_score=None, waiting=True)
    assert submission.find_waiting(path) == 7
    # The same predictions again: the file that waits, not another one.
    later = NOW.replace(hour=20)
    assert submission.write_submission(built, tmp_path, "run", later, {}) == path
    submission.record_score(path, ref=7, public_score=1.5, private_score=None)
    assert submission.find_waiting(path) is None
    assert submission.write_submission(built, tmp_path, "run", later, {}) != path


def test_a_file_that_changed_since_its_upload_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("RowId,Location\n1,2\n")
    submission.record_score(path, ref=7, public_score=None, private_score=None, waiting=True)
    assert submission.find_waiting(path) == 7
    path.write_text("RowId,Location\n1,3\n")
    assert submission.find_waiting(path) is None


def test_a_json_file_of_the_user_is_not_changed(tmp_path: Path) -> None:
    path, own = tmp_path / "own.csv", tmp_path / "own.json"
    path.write_text("RowId,Location\n1,2\n")
    own.write_text('{"mine": 1}')
    submission.record_score(path, ref=7, public_score=1.0, private_score=None)
    assert own.read_text() == '{"mine": 1}'
    assert submission.list_submissions(tmp_path)[0].ref == 7


def test_a_missing_folder_has_no_submissions(tmp_path: Path) -> None:
    assert submission.list_submissions(tmp_path / "none") == []


def test_the_text_keeps_numbers_exact_and_texts_as_they_are() -> None:
    text = submission.submission_text(np.array([1, 2]), [0.1, "0.50"], newline="\r\n")
    assert text == "RowId,Location\r\n1,0.1\r\n2,0.50\r\n"

"""Fuzz test of data files, submissions and recipes: right, or one line that names the file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces
from hypothesis import given
from hypothesis import strategies as st
from mutations import Budget, edits, fuzz, mutate

from fkd_kaggle.data import csv_format, plausibility
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.data.submission_file import read_submission_file
from fkd_kaggle.errors import DataError, FkdError, RecipeError, SubmissionError
from fkd_kaggle.recipes import loading

pytestmark = pytest.mark.slow

PARSERS = {
    "training.csv": csv_format.parse_training,
    "test.csv": csv_format.parse_test,
    "IdLookupTable.csv": csv_format.parse_lookup,
}

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")

RECIPES = (
    b'architecture = "heatmap"\nepochs = 3\nlearning_rate = 1e-3\noptions = { width = 8 }\n'
    b'[augmentation]\nset = "farhat"\nrotation = 10\n',
    b'folds = 3\nblend = "stack"\nmembers = [{ recipe = "deep15", share = 2.0, seeds = 2 }]\n',
)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The competition's files for three faces, by name."""
    folder = tmp_path_factory.mktemp("fuzz")
    faces = make_faces(3, seed=5)
    csv_format.write_training_csv(folder / "training.csv", faces)
    csv_format.write_test_csv(folder / "test.csv", faces)
    rows = np.arange(1, 31)
    lookup = Lookup(rows, np.full(30, 1), np.arange(30, dtype=np.int16))
    csv_format.write_lookup_csv(folder / "IdLookupTable.csv", lookup)
    return {name: (folder / name).read_bytes() for name in PARSERS}


def one_line(error: FkdError, path: Path) -> None:
    """Check that a message is one line that names the file."""
    text = str(error)
    assert "\n" not in text
    assert path.name in text
    assert len(text) < 1500


@pytest.mark.parametrize("name", PARSERS)
def test_changed_csv_files(contents: dict[str, bytes], name: str) -> None:
    budget, path = Budget(3), Path(name)
    original = PARSERS[name](path, contents[name])

    @fuzz(150)
    @given(edits(), st.sampled_from(ENCODINGS), st.booleans())
    def check(changes: list[tuple[str, float, bytes]], encoding: str, encode_first: bool) -> None:
        if budget.is_spent:
            return
        if encode_first:
            changed = mutate(contents[name].decode().encode(encoding), changes)
        else:
            text = mutate(contents[name], changes).decode("utf-8", "replace")
            changed = text.encode(encoding)
        try:
            arrays = PARSERS[name](path, changed)
        except DataError as error:
            one_line(error, path)
            return
        assert arrays.keys() == original.keys()
        count = len(next(iter(arrays.values())))
        assert count
        for key, array in arrays.items():
            assert array.dtype == original[key].dtype
            assert array.shape[1:] == original[key].shape[1:]
            assert len(array) == count
        if "keypoints" in arrays:
            labels = arrays["keypoints"]
            assert not np.isinf(labels).any()
            assert (np.isnan(labels[..., 0]) == np.isnan(labels[..., 1])).all()
            try:
                plausibility.check_training(Faces(arrays["images"], labels, np.arange(count)))
            except DataError as error:
                one_line(error, path)

    check()


def test_changed_submissions(tmp_path: Path) -> None:
    budget, path = Budget(3), tmp_path / "s.csv"
    plain = ("RowId,Location\n" + "".join(f"{row},{row / 3}\n" for row in range(1, 40))).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s.csv", plain)

    @fuzz(300)
    @given(edits(), st.sampled_from([plain, packed.getvalue()]))
    def check(changes: list[tuple[str, float, bytes]], content: bytes) -> None:
        if budget.is_spent:
            return
        path.write_bytes(mutate(content, changes))
        try:
            found = read_submission_file(path)
        except SubmissionError as error:
            one_line(error, path)
            return
        assert found.submission.row_ids.dtype == np.int64
        assert np.isfinite(found.submission.locations).all()

    check()


def test_changed_recipes(tmp_path: Path) -> None:
    budget, path = Budget(3), tmp_path / "own.toml"

    @fuzz(200)
    @given(edits(), st.sampled_from(RECIPES))
    def check(changes: list[tuple[str, float, bytes]], content: bytes) -> None:
        if budget.is_spent:
            return
        path.write_bytes(mutate(content, changes))
        try:
            loading.load_recipe(str(path))
        except RecipeError as error:
            one_line(error, path)

    check()


def test_texts_of_recipes_on_the_command_line() -> None:
    budget = Budget(2)
    values = st.one_of(st.text(max_size=12), st.sampled_from(["1e999", "9" * 5000, "[" * 2000]))

    @fuzz(150)
    @given(st.sampled_from(["epochs", "options.width", "augmentation.x", "a.b.c", ""]), values)
    def check(key: str, value: str) -> None:
        if budget.is_spent:
            return
        try:
            loading.load_recipe(f"heatmap:{key}={value}")
        except RecipeError as error:
            assert "\n" not in str(error)

    check()

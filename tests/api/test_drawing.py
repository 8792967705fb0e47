"""Tests of ``draw``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import fkd_kaggle as fkd
from fkd_kaggle.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray]


def test_figure_has_one_axes_for_each_face_and_can_be_saved(
    synthetic: Arrays, tmp_path: Path
) -> None:
    images, points = synthetic
    figure = fkd.draw(images[:7], points[:7] + 1, points[:7], titles=list("abcdefg"))
    assert isinstance(figure, Figure)
    assert [axes.get_title() for axes in figure.axes][:7] == list("abcdefg")
    assert [len(axes.collections) for axes in figure.axes] == [2] * 7 + [0] * 5
    drawn = np.asarray(figure.axes[3].collections[1].get_offsets())
    np.testing.assert_allclose(drawn, points[3] + 1)
    figure.savefig(tmp_path / "faces.png")
    assert (tmp_path / "faces.png").stat().st_size > 10_000


def test_notebooks_show_the_figure_as_png(synthetic: Arrays) -> None:
    figure = fkd.draw(synthetic[0][:1])
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_faces_are_drawn_with_their_labels(competition_dir: Path) -> None:
    figure = fkd.draw(fkd.load_faces(competition_dir).take([0, 1]), columns=2)
    assert [len(axes.collections) for axes in figure.axes] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": np.zeros((2, 15, 2))}, r"points has shape \(2, 15, 2\)"),
        ({"labels": np.zeros((2, 15, 2))}, r"labels has shape \(2, 15, 2\)"),
        ({"points": [[1, 2], [3]]}, "points must be numbers"),
        ({"titles": ["a"]}, "titles has 1"),
        ({"columns": 0}, "columns"),
    ],
)
def test_wrong_arguments_are_refused(
    synthetic: Arrays, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fkd.draw(synthetic[0][:3], **arguments)  # type: ignore[arg-type]

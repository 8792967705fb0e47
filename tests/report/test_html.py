"""HTML pages: texts are escaped, figures are embedded."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from fkd_kaggle.report import html


def test_all_texts_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"content")
    html.write_page(
        tmp_path / "page.html",
        "comparison.html",
        title="<title>",
        rows=[("<cell>", "a & b")],
        figures={"figure.png": "<caption>"},
        header=("<name>", "value"),
        protocol="<protocol>",
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in ("title", "cell", "caption", "name", "protocol"):
        assert f"&lt;{text}&gt;" in page
    for text in ("cell", "caption", "name", "protocol"):
        assert f"<{text}>" not in page
    assert "a &amp; b" in page
    assert 'src="data:image/png;base64,Y29udGVudA=="' in page
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")


def test_a_missing_variable_of_a_template_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError):
        html.write_page(tmp_path / "page.html", "comparison.html", title="run", rows=[], figures={})

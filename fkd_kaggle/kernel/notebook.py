"""The notebook of a kernel: the same steps as the script, one cell each, with explanations.

On Kaggle, people read notebooks: each step has a short text, and the report's figures are shown
with it. The package is packed in a hidden cell, because the cells after it need it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fkd_kaggle.kernel.job import KernelTask
from fkd_kaggle.kernel.script import encode_package, in_raw_string
from fkd_kaggle.kernel.summary import describe_task, title_of
from fkd_kaggle.settings import __version__

_UNPACK: Final = '''\
# The source code of the package fkd_kaggle (a zip, compressed with LZMA, as base64) and this
# kernel's task (JSON).
import base64
import io
import lzma
import sys
import tempfile
import zipfile

TASK = r"""{task}"""

PACKAGE = """
{package}"""

folder = tempfile.mkdtemp(prefix="fkd-kaggle-")
with zipfile.ZipFile(io.BytesIO(lzma.decompress(base64.b64decode(PACKAGE)))) as package:
    package.extractall(folder)
sys.path.insert(0, folder)
from fkd_kaggle.kernel.entry_point import KernelRun
'''

_FIGURES: Final = (
    (
        "curves.png",
        "Learning curves",
        "Left: the loss on the training faces. Right: the root-mean-square error (RMSE) in pixels "
        "on the faces that each network has not seen. A curve that still falls at its end would "
        "gain from more time.",
    ),
    (
        "keypoints.png",
        "Errors by keypoint",
        "RMSE of each keypoint, measured on faces that the networks have not seen. Two people "
        "annotated the faces: one marked 15 keypoints, the other four, with other habits; their "
        "faces are measured apart.",
    ),
    (
        "faces.png",
        "Predictions",
        "Typical faces from small to large error: labels in green, predictions in red, by networks "
        "that have not seen these faces.",
    ),
    (
        "doubtful.png",
        "Faces with the largest differences",
        "Here labels and predictions differ most. Many of these labels are wrong.",
    ),
)


def make_notebook(task: KernelTask) -> str:
    """Return the JSON of a kernel's notebook (nbformat 4.5) without outputs.

    Parameters
    ----------
    task
        What the kernel does.
    """
    cells = [_text(_introduction(task)), _unpack(task), *_training_cells(task)]
    if task.submits:
        cells += _result_cells()
    cells.append(_code("kernel.close()\n"))
    notebook = {
        "cells": [{"id": f"step-{number}", **cell} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1) + "\n"


def _introduction(task: KernelTask) -> str:
    """Return the first text: what is trained, where the source is, the licence."""
    title = title_of(task)
    rows = "\n".join(f"| {label} | {_cell_text(text)} |" for label, text in describe_task(task))
    return (
        f"# Facial Keypoints Detection: {_cell_text(title)}\n\n"
        f"|   |   |\n|---|---|\n{rows}\n\n"
        "The steps below call the package `fkd_kaggle` "
        f"(version {__version__}). Its complete source code is in the next cell, which is hidden: "
        "a zip, because kernels have no internet. Made by `fkd-kaggle kernel build --notebook`.\n\n"
        "Licence: MIT, Copyright (c) 2026 The fkd-kaggle founders; see `fkd_kaggle/LICENSE` in "
        "the zip."
    )


def _training_cells(task: KernelTask) -> list[dict[str, Any]]:
    """Return the cells up to the trained or blended run."""
    cells = [
        _text(
            "## 1. Machine\n\nThe kernel ends at once if the image's packages are too old. Each "
            "GPU trains one network at a time."
        ),
        _code("kernel = KernelRun(TASK)\nkernel.check_machine()\n"),
        _text("## 2. Data\n\nThe competition's files are found among the inputs of the kernel."),
        _code("kernel.find_data()\n"),
    ]
    if task.gather:
        return [
            *cells,
            _text(
                "## 3. Blend\n\nOther kernels have trained the networks. Their predictions for "
                "faces that they have not seen determine the weights of the blend, for each "
                "keypoint and annotator."
            ),
            _code("kernel.blend()\n"),
        ]
    return [
        *cells,
        _text(
            "## 3. Training\n\nEvery network trains on all faces but one group, and is measured on "
            "that group. Random rotations, scales and reflections enlarge the data. The training "
            "ends in time for the remaining steps."
        ),
        _code("kernel.train()\n"),
    ]


def _result_cells() -> list[dict[str, Any]]:
    """Return the cells with scores, submission and figures."""
    cells = [
        _text(
            "## 4. Scores\n\nRoot-mean-square errors in pixels (the faces have 96 × 96), measured "
            "on faces that the networks have not seen. The last line is the score expected on the "
            "leaderboard: the blend of all networks is better than cross-validation can measure, "
            "and the expectation includes this."
        ),
        _code("kernel.print_scores()\n"),
        _text(
            "## 5. Submission\n\nThe test faces are predicted and `submission.csv` is written: one "
            "row for each coordinate that the lookup table asks for."
        ),
        _code("kernel.write_submission()\n"),
        _text(
            "## 6. Figures\n\n`fkd-kaggle kernel output` downloads the run and writes its page, "
            "`report.html`."
        ),
        _code(
            "from IPython.display import Image, display\n\n"
            "figures = {path.name: path for path in kernel.write_report()}\n"
        ),
    ]
    for name, heading, text in _FIGURES:
        cells += [
            _text(f"### {heading}\n\n{text}"),
            _code(f'if "{name}" in figures:\n    display(Image(filename=figures["{name}"]))\n'),
        ]
    return cells


def _unpack(task: KernelTask) -> dict[str, Any]:
    """Return the cell with the task and the package; Jupyter and Kaggle fold it."""
    source = _UNPACK.replace("{package}", encode_package())
    cell = _code(source.replace("{task}", in_raw_string(task.to_json())))
    hidden = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True}
    return {**cell, "metadata": hidden}


def _text(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": text,
    }


def _cell_text(text: str) -> str:
    """Return a text for a table cell of Markdown, without markup."""
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text

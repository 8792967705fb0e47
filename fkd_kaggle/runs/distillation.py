"""What a distillation is taught, ``distillation.json`` in the folder of its run.

An interrupted distillation continues with the same data; ``ensemble.distillation`` trains it.
"""

from __future__ import annotations

from typing import Final

from fkd_kaggle import files
from fkd_kaggle.errors import RunError
from fkd_kaggle.runs import reading
from fkd_kaggle.runs.folder import Run

FILE_NAME: Final = "distillation.json"


def write_test_faces(run: Run, test_faces: bool) -> None:
    """Store whether the network is trained on the teacher's predictions for the test faces."""
    files.write_json(run.path / FILE_NAME, {"test_faces": test_faces})


def read_test_faces(run: Run) -> bool | None:
    """Return what ``write_test_faces`` stored; None in runs of earlier versions.

    Raises
    ------
    RunError
        The file is damaged.
    """
    path = run.path / FILE_NAME
    if not path.exists():
        return None
    value = reading.read_json_object(path).get("test_faces")
    if not isinstance(value, bool):
        raise RunError(f"{path} is damaged: restore the file from a copy, or delete {run.path}")
    return value

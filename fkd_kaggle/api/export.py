"""Export of a run to one file or to a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError
from fkd_kaggle.export.folder import export_run
from fkd_kaggle.runs.folder import Run

_FORMATS = {".onnx": "onnx", ".tflite": "litert", ".keras": "keras"}
"""Format by the end of a file's name."""


def export_model(
    run: Run,
    target: Path,
    format_name: str | None,
    *,
    annotator: int,
    data_dir: Path,
    force: bool,
) -> Path:
    """Write a run to a file, or to a folder with an example and a model card.

    Parameters
    ----------
    run
        A blended run.
    target
        A file whose name ends like one of ``_FORMATS``, or a folder.
    format_name
        One of ``export.formats.FORMATS``; None for the format of the file's name.
    annotator
        Annotator whose conventions the points follow.
    data_dir
        Folder of the data set of the run.
    force
        Whether to replace an existing target.

    Raises
    ------
    FkdError
        The format is unknown or does not fit the name, the target exists or cannot be written, or
        ``export_run`` fails.
    """
    with files.write_errors(target):
        exists = target.exists()
    by_name = _FORMATS.get(target.suffix.lower())
    if by_name is None:
        if format_name is None:
            raise FkdError(
                f"the format of {target} is unknown: use a name that ends with "
                f"{', '.join(_FORMATS)}, or name the format"
            )
        return export_run(
            run, target, format_name, data_dir=data_dir, annotator=annotator, force=force
        ).path
    if format_name not in (None, by_name):
        raise FkdError(f"{target} is a file of format {by_name}, not {format_name}: rename it")
    if exists and not force:
        raise FkdError(f"{target} exists: choose another name, or replace it with force=True")
    with files.temporary_folder(target) as temporary:
        folder = temporary / "export"
        result = export_run(run, folder, by_name, data_dir=data_dir, annotator=annotator)
        with files.write_errors(target), files.atomic_path(target) as path:
            shutil.move(result.file, path)  # a link can lead to another disk
    return target

"""Download of a competition's files: all in one zip, or one by one where Kaggle limits the zip.

Kaggle limits downloads of all files much more than other requests: after a few, it answers 429 for
half an hour (github.com/Kaggle/kaggle-cli/issues/931). Single files have a limit of their own.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.download import OnProgress, check_zip, download_file, path_below
from fkd_kaggle.kaggle_api.errors import Action

TOO_MANY_REQUESTS: Final = 429

_SINGLE: Final = ".single-files"
"""Folder beside the zip that keeps single files until all are there."""


def download_files(
    client: Client,
    action: Action,
    target: Path,
    list_names: Callable[[], Sequence[str]],
    on_progress: OnProgress | None = None,
) -> None:
    """Download a competition's files as one zip.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages; it contains the competition's slug.
    target
        Path of the zip.
    list_names
        Returns the names of the competition's files.
    on_progress
        Called with the bytes downloaded and the total bytes.

    Raises
    ------
    CompetitionError
        Kaggle refuses or cannot be reached. The downloaded part is kept for the next call.
    """
    try:
        download_file(
            client,
            action,
            lambda api, staged: api.competition_download_files(
                action.slug, path=str(staged.parent), quiet=True
            ),
            target,
            check_zip,
            on_progress,
        )
    except CompetitionError as error:
        if error.status != TOO_MANY_REQUESTS:
            raise
        client.retry_policy.on_wait("Kaggle limits the download of all files: trying each file", 0)
        _download_one_by_one(client, action, target, list_names(), on_progress)


def _download_one_by_one(
    client: Client,
    action: Action,
    target: Path,
    names: Sequence[str],
    on_progress: OnProgress | None,
) -> None:
    """Download each file and put them into the zip ``target``.

    Raises
    ------
    CompetitionError
        Kaggle limits these downloads too, refuses, or cannot be reached.
    """
    folder = target.parent / _SINGLE
    paths = {name: path_below(folder, name) for name in names}
    try:
        for name, path in paths.items():
            if not path.exists():
                _download_single(client, action, name, path, on_progress)
    except CompetitionError as error:
        if error.status != TOO_MANY_REQUESTS:
            raise
        raise CompetitionError(
            "Kaggle limits your downloads (429: too many requests), of all files and of single "
            "ones: the limit lasts about half an hour; what was downloaded is kept, so run the "
            "same command again later",
            error.status,
        ) from error
    with files.atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for _, path in sorted(paths.items()):
            # Kaggle serves large files as NAME.zip; the name tells it, as in Kaggle's own zip.
            wrapped = path.suffix != ".zip" and zipfile.is_zipfile(path)
            archive.write(path, f"{path.name}.zip" if wrapped else path.name)
    shutil.rmtree(folder, ignore_errors=True)


def _download_single(
    client: Client, action: Action, name: str, target: Path, on_progress: OnProgress | None
) -> None:
    """Download one file of the competition to ``target``."""

    def download(api: Any, staged: Path) -> None:
        api.competition_download_file(action.slug, name, path=str(staged.parent), quiet=True)
        wrapped = staged.with_name(staged.name + ".zip")
        if wrapped.exists():
            wrapped.replace(staged)

    download_file(client, action, download, target, lambda path: None, on_progress)

"""The photos and videos that a command was given: files and folders, without the package's output.

Pictures that this package draws beside its tables, and folders of drawn photos, are not photos to
annotate. The same holds for hidden folders (notebooks keep copies in ``.ipynb_checkpoints``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.images import list_photos

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
"""Suffixes, in lower case, of the files that are read as videos."""

DRAWN_MARKER = ".drawn-by-fkd-kaggle"
"""A file in every folder of drawn photos."""

_FOREIGN_FOLDERS = ("__MACOSX",)


@dataclass(frozen=True)
class PhotoInputs:
    """Photos and videos of a command."""

    photos: dict[str, Path]
    """Paths by name: relative to the folder if there is one, otherwise as given."""
    videos: tuple[Path, ...]
    folder: Path | None
    """The folder, if the command was given one folder and nothing else."""

    def describe(self) -> str:
        """Return where the photos come from."""
        return str(self.folder) if self.folder else "the given photos"


def collect_inputs(paths: Sequence[Path]) -> PhotoInputs:
    """Return the photos and videos of files and folders; every file once.

    Parameters
    ----------
    paths
        Photos, videos and folders, subfolders included. A file that is named is taken whatever its
        suffix.

    Raises
    ------
    DataError
        A path does not exist, or a folder contains neither a photo nor a video.
    """
    photos: dict[str, Path] = {}
    videos: dict[Path, None] = {}
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    for path in paths:
        if path.is_dir():
            found, clips = _list_folder(path)
            for photo in found:
                name = photo.relative_to(path) if folder else photo
                photos.setdefault(name.as_posix(), photo)
            videos.update(dict.fromkeys(clips))
        elif not path.exists():
            raise DataError(f"{path}: there is no such photo, video or folder")
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.setdefault(path)
        else:
            photos.setdefault(path.as_posix(), path)
    return PhotoInputs(photos, tuple(videos), folder)


def is_own_picture(path: Path) -> bool:
    """Return whether a picture was drawn by this package beside a table of points.

    Parameters
    ----------
    path
        An image file.
    """
    table = path.with_suffix(".csv")
    if path.suffix.lower() != ".png" or not table.is_file():
        return False
    with table.open("rb") as stream:
        return stream.read(64).removeprefix(b"\xef\xbb\xbf").startswith(b"image_name,")


def _list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sorted photos and videos of a folder and its subfolders."""
    videos = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and _is_input(path, folder)
    ]
    try:
        listed = list_photos(folder)
    except DataError:
        if videos:
            return [], videos
        raise
    photos = [path for path in listed if _is_input(path, folder) and not is_own_picture(path)]
    if not photos and not videos:
        raise DataError(f"{folder} holds no photo but hidden ones and pictures of points")
    return photos, videos


def _is_input(path: Path, folder: Path) -> bool:
    """Return whether a file of a folder is the user's: not hidden, not drawn by this package."""
    inner = path.relative_to(folder)
    if any(part.startswith(".") or part in _FOREIGN_FOLDERS for part in inner.parts):
        return False
    parents = [folder / parent for parent in inner.parents]
    return not any((parent / DRAWN_MARKER).exists() for parent in parents)

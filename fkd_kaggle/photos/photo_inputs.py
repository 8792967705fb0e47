"""The photos and videos that a command was given: files and folders.

What of a folder is a photo is decided in ``photo_folder``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.photo_folder import VIDEO_SUFFIXES, no_photos, scan_folder
from fkd_kaggle.photos.skipped_inputs import SkippedInput


@dataclass(frozen=True)
class PhotoInputs:
    """Photos and videos of a command."""

    photos: dict[str, Path]
    """Paths by name: relative to the folder if there is one, otherwise as given."""
    videos: tuple[Path, ...]
    folder: Path | None
    """The folder, if the command was given one folder and nothing else."""
    skipped: tuple[SkippedInput, ...] = ()
    """Pictures and videos in the folders that are not read, and why."""
    named_videos: frozenset[Path] = frozenset()
    """The videos that the command was given by name, not in a folder."""

    def describe(self) -> str:
        """Return where the photos come from."""
        return str(self.folder) if self.folder else "the given photos"

    def without_videos(self, reason: str) -> PhotoInputs:
        """Return the inputs without the videos, which are skipped for a reason."""
        names = [
            (path.relative_to(self.folder) if self.folder else path).as_posix()
            for path in self.videos
        ]
        skipped = (*self.skipped, *(SkippedInput(name, reason) for name in names))
        return replace(self, videos=(), named_videos=frozenset(), skipped=skipped)


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
    named: set[Path] = set()
    skipped: list[SkippedInput] = []
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    for path in paths:
        if path.is_dir():
            found = scan_folder(path)
            if not found.photos and not found.videos:
                raise no_photos(found)
            for photo in found.photos:
                name = photo.relative_to(path) if folder else photo
                photos.setdefault(name.as_posix(), photo)
            videos.update(dict.fromkeys(found.videos))
            skipped += found.skipped
        elif not path.exists():
            raise DataError(f"{path}: there is no such photo, video or folder")
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.setdefault(path)
            named.add(path)
        else:
            photos.setdefault(path.as_posix(), path)
    return PhotoInputs(photos, tuple(videos), folder, tuple(skipped), frozenset(named))

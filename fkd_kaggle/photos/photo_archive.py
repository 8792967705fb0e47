"""A zip of photos as a folder, such as CVAT's export with images.

Unpacks pictures and annotation files to a temporary folder; a folder is used as it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fkd_kaggle.data import packed
from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.photo_folder import is_picture_name
from fkd_kaggle.photos.photo_names import photo_parts


@contextmanager
def unpacked_folder(path: Path) -> Iterator[Path]:
    """Yield the folder ``path``, or a temporary folder with the content of the zip ``path``.

    Raises
    ------
    DataError
        ``path`` is neither a folder nor a zip, or the zip is damaged, encrypted, too large or
        holds no picture.
    """
    if path.is_dir():
        yield path
        return
    if not path.exists():
        raise DataError(f"{path} does not exist: give the folder of the photos, or a zip of them")
    if not _is_zip(path):
        raise DataError(f"{path} is not a folder of photos, and not a zip of one")
    with tempfile.TemporaryDirectory(prefix="fkd-photos-") as temporary:
        _unpack(path, Path(temporary))
        yield Path(temporary)


def _unpack(path: Path, target: Path) -> None:
    """Write the pictures and annotation files of a zip below a folder."""
    with packed.open_zip(path, str(path)) as archive:
        infos = [
            info
            for info in packed.visible_files(archive)
            if is_picture_name(info.filename.lower()) or info.filename.lower().endswith(".xml")
        ]
        if not any(is_picture_name(info.filename.lower()) for info in infos):
            raise DataError(f"{path} holds no photo: export with images, or give their folder")
        needed = sum(info.file_size for info in infos)
        free = shutil.disk_usage(target).free
        if needed > free:
            raise DataError(
                f"{path} needs {needed / 1e6:.0f} MB in {target.parent}, which has "
                f"{free / 1e6:.0f} MB free: unpack it elsewhere and give the folder"
            )
        for info in infos:
            parts = photo_parts(info.filename)
            if not parts:  # the name leaves the folder
                continue
            place = target.joinpath(*parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, place.open("wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)


def _is_zip(path: Path) -> bool:
    """Say whether a file begins like a zip."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False

"""Which files of a folder are photos, and which pictures are left out.

Left out without a word: hidden files and folders (``.ipynb_checkpoints``), folders of operating
systems (``__MACOSX``), and what this program writes (contact sheets, reports). A picture that
cannot be used is returned with the reason. Decodes nothing; names are matched in
``photo_names``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from PIL import features

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.skipped_inputs import SkippedInput

DRAWN_MARKER: Final = ".drawn-by-fkd-kaggle"
"""A file in every folder of drawn photos."""

OWN_SOFTWARE: Final = "fkd-kaggle"
"""Text chunk "Software" of the PNGs that this program writes."""

_PHOTO_SUFFIXES: Final = frozenset(
    [
        ".apng",
        ".avif",
        ".avifs",
        ".bmp",
        ".dib",
        ".gif",
        ".j2k",
        ".jfif",
        ".jif",
        ".jp2",
        ".jpc",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pgm",
        ".pjp",
        ".pjpeg",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Suffixes, in lower case, of the files that are photos."""

_HEIC_SUFFIXES: Final = frozenset([".heic", ".heics", ".heif", ".heifs", ".hif"])

_HEIC_REMEDY: Final = "HEIC: convert it to JPEG, or pip install pillow-heif"

_RAW_SUFFIXES: Final = frozenset(
    [
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".dng",
        ".erf",
        ".kdc",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    ]
)

_OTHER_SUFFIXES: Final = frozenset(
    [
        ".ai",
        ".cur",
        ".dcm",
        ".dds",
        ".emf",
        ".eps",
        ".exr",
        ".fit",
        ".fits",
        ".hdr",
        ".icns",
        ".ico",
        ".jxl",
        ".jxr",
        ".pcx",
        ".pdf",
        ".ps",
        ".psb",
        ".psd",
        ".qoi",
        ".sgi",
        ".svg",
        ".svgz",
        ".tga",
        ".wdp",
        ".wmf",
        ".xcf",
    ]
)

VIDEO_SUFFIXES: Final = frozenset(
    [
        ".3g2",
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".webm",
        ".wmv",
    ]
)

_FOREIGN_FOLDERS: Final = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
)
"""Folders, in lower case, in which operating systems keep their own files."""

_OWN_FILES: Final = (
    {"run.json"},
    {"photo_run.json"},
    {DRAWN_MARKER},
    {"compare.json"},
    {"summary.json", "photos.csv", "points.csv"},
    {"explore.html", "suspicious.csv"},
)
"""Each set of files marks a folder that this program wrote: a run, a photo run, drawn photos,
``compare``, ``evaluate``, ``explore``."""

_MAGIC: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
)

_PHOTO_KINDS: Final = frozenset(("JPEG", "PNG", "GIF", "TIFF", "JPEG 2000", "WebP", "AVIF"))


@dataclass(frozen=True)
class PhotoFolder:
    """The photos of a folder and its subfolders."""

    path: Path
    photos: tuple[Path, ...]
    """Paths of the photos, sorted."""
    skipped: tuple[SkippedInput, ...]
    """Pictures that are not used, by their path relative to the folder, sorted."""
    videos: tuple[Path, ...] = ()
    """Paths of the videos, sorted."""


def scan_folder(folder: Path) -> PhotoFolder:
    """Find the photos of a folder and its subfolders, links to folders included.

    Raises
    ------
    DataError
        ``folder`` is not a folder.
    """
    if not folder.is_dir():
        problem = "is a file, not" if folder.exists() else "is not"
        raise DataError(f"{folder} {problem} a folder of photos")
    photos: list[Path] = []
    videos: list[Path] = []
    skipped: list[SkippedInput] = []
    for path in _walk(folder, skipped):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(path)
            continue
        reason = _rejection_reason(path)
        if reason is None:
            photos.append(path)
        elif reason:
            skipped.append(SkippedInput(_shown(path, folder), reason))
    skipped.sort(key=lambda item: item.name)
    return PhotoFolder(folder, tuple(sorted(photos)), tuple(skipped), tuple(sorted(videos)))


def list_photos(folder: Path) -> list[Path]:
    """Return the paths of the photos in a folder and its subfolders, sorted.

    Raises
    ------
    DataError
        ``folder`` is not a folder, or contains no photo.
    """
    found = scan_folder(folder)
    if not found.photos:
        raise no_photos(found)
    return list(found.photos)


def no_photos(found: PhotoFolder) -> DataError:
    """Return the error for a folder without a photo, which names the first picture left out."""
    if found.skipped:
        more = f" and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
        return DataError(f"{found.path} holds no photo that can be used: {found.skipped[0]}{more}")
    if found.videos:
        return DataError(f"{found.path} holds no photo, only videos such as {found.videos[0].name}")
    return DataError(f"{found.path} holds no photo (such as .jpg, .png, .webp, .tif)")


@cache
def reads_heic() -> bool:
    """Say whether Pillow reads HEIC: whether the package ``pillow-heif`` is installed and works."""
    try:
        # From a string: the package is no dependency, and its absence is no error.
        importlib.import_module("pillow_heif").register_heif_opener()
    except Exception:  # of an installation for another system, or of another version
        return False
    return True


def reads_avif() -> bool:
    """Say whether this Pillow reads AVIF; some systems' packages do not."""
    return bool(features.check("avif"))


def unreadable_reason(path: Path) -> str:
    """Return why Pillow does not recognise a file."""
    kind = _content_kind(path)
    suffix = path.suffix.lower()
    if not kind and _is_empty(path):
        return "is empty"
    if (kind == "HEIC" or (not kind and suffix in _HEIC_SUFFIXES)) and not reads_heic():
        return _HEIC_REMEDY
    if kind == "AVIF" and not reads_avif():
        return "AVIF: this Pillow does not read it; convert it to JPEG, or update Pillow"
    if kind and kind not in _PHOTO_KINDS | {"HEIC"}:
        return f"{kind}, which is not read: convert it to JPEG or PNG"
    if kind:
        return f"a damaged {kind} file: copy or export it again"
    return "not an image that can be read"


def is_picture_name(name: str) -> bool:
    """Say whether a file name, in lower case, has the suffix of a picture, readable or not."""
    suffix = Path(name).suffix
    return suffix in _PHOTO_SUFFIXES | _HEIC_SUFFIXES | _RAW_SUFFIXES | _OTHER_SUFFIXES


def is_own_picture(path: Path) -> bool:
    """Say whether a PNG was written by this program, as a contact sheet beside a table is."""
    if path.suffix.lower() != ".png":
        return False
    if b"Software\0" + OWN_SOFTWARE.encode() in _read_head(path, 512):
        return True
    # Contact sheets of earlier versions have no mark, but a table of the same name beside them.
    return path.name == "face_keypoints.png" or _read_head(path.with_suffix(".csv"), 20).startswith(
        (b"image_name,point_1_x", b"image_name,left_eye")
    )


def _walk(folder: Path, skipped: list[SkippedInput]) -> Iterator[Path]:
    """Yield the visible files below a folder, each folder once even if links form a cycle."""
    seen: set[Path] = set()

    def report(error: OSError) -> None:
        if error.filename:
            name = _shown(Path(error.filename), folder)
            skipped.append(SkippedInput(name, f"cannot be read ({error.strerror})"))

    for place, folders, names in os.walk(folder, onerror=report, followlinks=True):
        here = Path(place)
        real = here.resolve()
        if real in seen or (here != folder and any(own <= set(names) for own in _OWN_FILES)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name.lower() not in _FOREIGN_FOLDERS
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield here / name


def _rejection_reason(path: Path) -> str | None:
    """Return why a file is not used: None for a photo, "" for a file that is no picture."""
    suffix = path.suffix.lower()
    if suffix in _HEIC_SUFFIXES and not reads_heic():
        # Chat programs and browsers also give JPEGs such names.
        return None if _content_kind(path) in _PHOTO_KINDS else _HEIC_REMEDY
    if suffix in _RAW_SUFFIXES:
        return "a camera's raw file: convert it to JPEG"
    if suffix in _OTHER_SUFFIXES:
        return f"{suffix[1:].upper()} is not read: convert it to JPEG or PNG"
    if suffix not in _PHOTO_SUFFIXES | _HEIC_SUFFIXES:
        return _reason_by_content(path)
    if not path.is_file():
        return "a link to a file that does not exist" if path.is_symlink() else ""
    if not _is_utf8(path):
        return "its name is not UTF-8: rename it"
    return "" if is_own_picture(path) else None


def _reason_by_content(path: Path) -> str | None:
    """Do as ``_rejection_reason`` for a file whose suffix says nothing."""
    kind = _content_kind(path) if path.is_file() else ""
    if kind not in _PHOTO_KINDS | {"HEIC"}:
        return ""
    if not _is_utf8(path):
        return "its name is not UTF-8: rename it"
    if path.suffix:
        return f"a {kind} by its content, but its name ends in {path.suffix}: rename it"
    if kind == "HEIC" and not reads_heic():
        return _HEIC_REMEDY
    return None


def _content_kind(path: Path) -> str:
    """Return the format that a file's first bytes show; empty where unknown."""
    head = _read_head(path, 16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
            return "HEIC"
        return ""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def _read_head(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except (OSError, ValueError):
        return b""


def _is_empty(path: Path) -> bool:
    """Say whether a file has no content."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def _is_utf8(path: Path) -> bool:
    """Say whether a path can be written to a file in UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path, folder: Path) -> str:
    """Return a path below a folder as text that can be printed."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")

"""Which file each photo name of an annotation file or table means.

Names come from other machines: with folders that do not exist here, with another suffix, letter
case or Unicode normalisation, or without a suffix. A name never leads out of the folder, and a file
is never used for two names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fkd_kaggle.photos.photo_folder import PhotoFolder, is_picture_name

Size = tuple[int, int]
"""Width and height in pixels."""

MISSING: Final = "there is no such photo"

_LEVELS: Final = 3
"""Strictness of a comparison: 0 exact, 1 without case and Unicode form, 2 also without suffix."""


@dataclass(frozen=True)
class PhotoName:
    """A photo as an annotation file names it."""

    name: str
    subset: str = ""
    """The folder below ``images/`` into which CVAT exports the photo of a project; may be empty."""
    size: Size | None = None
    """Annotated width and height; decides between several files or names."""


@dataclass(frozen=True)
class _Candidate:
    """A file that a name can mean; smaller is better."""

    unmatched: int
    """Minus the number of path parts that are equal, from the end."""
    level: int
    depth: int
    path: Path

    @property
    def rank(self) -> tuple[int, int, int]:
        """Return the order among the files of a name."""
        return self.unmatched, self.level, self.depth

    @property
    def closeness(self) -> tuple[int, int]:
        """Return the order among the names of a file."""
        return self.unmatched, self.level


def find_photos(
    folder: PhotoFolder, names: Sequence[PhotoName], sizes_of: Callable[[Path], Sequence[Size]]
) -> list[Path | str]:
    """Return the file of each name, or why it has none.

    Parameters
    ----------
    folder
        The folder; photos that cannot be used are found as well, so that the reason is reported.
    names
        The names. Equal names have the same file.
    sizes_of
        Returns the sizes that a file can have been annotated at: upright, and as stored. Called
        only if names are ambiguous.
    """
    index = _Index(folder, {name.subset for name in names if name.subset})
    chosen = [_choose(index.candidates(name), name, folder.path, sizes_of) for name in names]
    claims: dict[Path, list[int]] = defaultdict(list)
    for number, choice in enumerate(chosen):
        if isinstance(choice, _Candidate):
            claims[choice.path].append(number)
    result = [choice.path if isinstance(choice, _Candidate) else choice for choice in chosen]
    for path, numbers in claims.items():
        kept = _keep_claims(numbers, names, chosen, sizes_of, path)
        others = sorted({names[number].name for number in numbers})
        for number in set(numbers) - set(kept):
            result[number] = (
                MISSING
                if kept
                else f"{_relative(path, folder.path)} can be {' or '.join(others)}: "
                "give the folder that contains their folders"
            )
    return result


def photo_parts(name: str) -> tuple[str, ...] | None:
    """Return the folders and the file name of a photo's name, None if it leaves its folder."""
    text = re.sub(r"^[A-Za-z]:", "", name.strip().replace("\\", "/"))
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    return None if ".." in parts or "\0" in name else parts


class _Index:
    """The pictures of a folder by file name."""

    def __init__(self, folder: PhotoFolder, subsets: set[str]) -> None:
        self._root = folder.path.absolute()
        self._subsets = subsets
        self._by_name: list[dict[str, list[Path]]] = [defaultdict(list) for _ in range(_LEVELS)]
        skipped = [folder.path / item.name for item in folder.skipped]
        for path in (*folder.photos, *skipped):
            for level in range(_LEVELS):
                self._by_name[level][_key(path.name, level)].append(path)

    def candidates(self, wanted: PhotoName) -> list[_Candidate] | str:
        """Return the files that a name can mean, each at the strictest level at which it fits."""
        parts = photo_parts(wanted.name)
        if parts is None:
            return "its name leads out of the folder of the photos"
        if not parts:
            return MISSING
        found: dict[Path, _Candidate] = {}
        for level in range(_LEVELS):
            for path in self._by_name[level].get(_key(parts[-1], level), ()):
                candidate = self._compare(path, parts, wanted.subset, level)
                if candidate is not None:
                    found.setdefault(path, candidate)
        return list(found.values()) or MISSING

    def _compare(
        self, path: Path, parts: tuple[str, ...], subset: str, level: int
    ) -> _Candidate | None:
        """Return how well a file fits, None if folders of both contradict each other."""
        inside = path.absolute().relative_to(self._root).parts
        known = inside[1:] if len(inside) > 1 and inside[0].lower() == "images" else inside
        if len(known) > 1 and subset and known[0] in self._subsets - {subset}:
            return None
        absolute = path.absolute().parts
        named = [parts, (subset, *parts)] if subset else [parts]
        common = max(_common_tail(absolute, each, level) for each in named)
        if common < len(parts) and common < len(known):
            return None
        return _Candidate(-common, level, len(inside), path)


def _choose(
    candidates: list[_Candidate] | str,
    wanted: PhotoName,
    folder: Path,
    sizes_of: Callable[[Path], Sequence[Size]],
) -> _Candidate | str:
    """Return the best candidate, or why there is none."""
    if isinstance(candidates, str):
        return candidates
    best = min(candidate.rank for candidate in candidates)
    closest = [candidate for candidate in candidates if candidate.rank == best]
    if len(closest) > 1 and wanted.size:
        fitting = [each for each in closest if wanted.size in sizes_of(each.path)]
        closest = fitting if len(fitting) == 1 else closest
    if len(closest) == 1:
        return closest[0]
    shown = sorted(_relative(candidate.path, folder) for candidate in closest)
    return f"can be {' or '.join(shown[:3])}"


def _keep_claims(
    numbers: list[int],
    names: Sequence[PhotoName],
    chosen: Sequence[_Candidate | str],
    sizes_of: Callable[[Path], Sequence[Size]],
    path: Path,
) -> list[int]:
    """Return which of the names that claim a file get it; all of them if they are equal."""
    ranks = {
        number: choice.closeness
        for number in numbers
        if isinstance(choice := chosen[number], _Candidate)
    }
    best = [number for number in numbers if ranks[number] == min(ranks.values())]
    if len({(names[number].name, names[number].subset) for number in best}) == 1:
        return best
    fitting = [number for number in best if names[number].size in sizes_of(path)]
    different = {(names[number].name, names[number].subset) for number in fitting}
    return fitting if len(different) == 1 else []


def _key(name: str, level: int) -> str:
    """Return what must be equal in two file names at a level of strictness."""
    if level == 0:
        return name
    key = unicodedata.normalize("NFC", name).casefold()
    return key.rpartition(".")[0] if level == 2 and is_picture_name(key) else key


def _common_tail(path: Sequence[str], name: Sequence[str], level: int) -> int:
    """Return the number of equal parts at the end of a path and a name."""
    count = 0
    for left, right in zip(reversed(path), reversed(name), strict=False):
        strictness = min(level, 1) if count else level  # folders have no suffix
        if _key(left, strictness) != _key(right, strictness):
            break
        count += 1
    return count


def _relative(path: Path, folder: Path) -> str:
    """Return a path below the folder as text."""
    return path.relative_to(folder).as_posix()

"""Read small text files that editors and shells have written in their encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.files import marked_encoding

_MAX_BYTES: Final = 1 << 20


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises
    ------
    CompetitionError
        The file cannot be read, is too large, or is no text. The message names the file and not its
        content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CompetitionError(f"{path} is there, but cannot be read: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise CompetitionError(f"{path} is there, but is too large for a file of credentials")
    encoding = marked_encoding(content)
    if encoding is None:
        # UTF-16 without a mark: every second byte of ASCII text is zero.
        halves = {content[1::2].count(0): "utf-16-le", content[0::2].count(0): "utf-16-be"}
        zeros = max(halves)
        encoding = halves[zeros] if zeros * 2 == len(content) > 0 else "utf-8"
    try:
        return content.decode(encoding)
    except UnicodeError as error:
        raise CompetitionError(
            f"{path} is there, but is no text in UTF-8 or UTF-16: save it again as plain text"
        ) from error

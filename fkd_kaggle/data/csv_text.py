"""CSV files as other programs save them, turned into UTF-8 text with commas and newlines.

Excel writes UTF-16, tabs or semicolons with decimal commas; old Macs end lines with a carriage
return. Content that is plain already is returned as it is, without a copy.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from fkd_kaggle.errors import DataError
from fkd_kaggle.files import marked_encoding

_PACKED: Final = {
    b"PK\x03\x04": "a zip file",
    b"\x1f\x8b": "packed with gzip",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
}

_OTHER_FILES: Final = {
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run `git lfs pull`",
    b"\xd0\xcf\x11\xe0": "an Excel file: save it as CSV",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file: save it as CSV",
}


def plain_csv(path: Path, content: bytes) -> bytes:
    """Return a CSV file's content in UTF-8 with commas between cells and newlines between rows.

    Parameters
    ----------
    path
        Named in messages; not read.
    content
        The file's bytes.

    Raises
    ------
    DataError
        The content is packed, is in another format, or is not text.
    """
    content = to_utf8(path, content)
    if b"\r" in content[:100_000] and b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    if content[:4].lower() == b"sep=":  # Excel's own first line
        content = content[content.find(b"\n") + 1 :] if b"\n" in content else b""
    head = content[: content.find(b"\n")] if b"\n" in content else content
    if b"," in head:
        return content
    if b";" in head:
        return content.replace(b",", b".").replace(b";", b",")  # commas are decimal commas here
    if b"\t" in head:
        return content.replace(b"\t", b",")
    return content


def to_utf8(path: Path, content: bytes) -> bytes:
    """Return text of another encoding in UTF-8, without byte order mark.

    Parameters
    ----------
    path
        Named in messages; not read.
    content
        The file's bytes.

    Raises
    ------
    DataError
        The content is packed or in another format, or is not text.
    """
    for start, what in {**_PACKED, **_OTHER_FILES}.items():
        if content[:32].startswith(start):
            hint = ": unpack it" if start in _PACKED else ""
            raise DataError(f"{path} is {what}{hint}")
    encoding = marked_encoding(content)
    if encoding == "utf-8-sig":
        content, encoding = content.removeprefix(codecs.BOM_UTF8), None
    if encoding is None and content[:64].count(0) > len(content[:64]) // 4:
        # Text in UTF-16 without a mark: every second byte of a header's letters is zero.
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    if encoding is None:
        return content
    try:
        return content.decode(encoding).encode()
    except UnicodeError:
        raise DataError(f"{path} is not text: it is damaged, or no CSV file") from None

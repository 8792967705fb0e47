"""Tests of reading submission files that other programs wrote."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fkd_kaggle.data.submission_file import read_submission_file
from fkd_kaggle.errors import SubmissionError

PLAIN = "RowId,Location\n1,48.5\n2,3e1\n3,0.25\n"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def encrypted(content: bytes) -> bytes:
    """Return a zip whose entries are marked as encrypted."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "is_plain"),
    [
        (lambda text: text.encode(), True),
        (lambda text: text.replace("\n", "\r\n").encode(), True),
        (lambda text: text.rstrip("\n").encode(), True),
        (lambda text: (text + "\n\n").encode(), False),
        (lambda text: text.encode("utf-8-sig"), False),
        (lambda text: text.encode("utf-16"), False),
        (lambda text: text.replace(",", ", ").encode(), False),
        (lambda text: text.replace(",", ";").replace(".", ",").encode(), False),
        (lambda text: text.replace(",", "\t").encode(), False),
        (lambda text: text.replace("RowId", "rowid").encode(), False),
        (lambda text: b",RowId,Location\n0,1,48.5\n1,2,30\n2,3,0.25\n", False),
        (lambda text: b"RowId,ImageId,Location\n1,1,48.5\n2,1,30\n3,1,0.25\n", False),
        (lambda text: b"Location,RowId\n48.5,1\n30,2\n0.25,3\n", False),
        (lambda text: b'"RowId","Location"\n"1","48.5"\n"2","30"\n"3","0.25"\n', False),
        (lambda text: b"RowId,Location\n1.0,48.5\n2.0,30\n3.0,0.25\n", False),
        (lambda text: zipped({"s.csv": text.encode()}), False),
        (lambda text: zipped({"a/s.csv": text.encode(), "__MACOSX/._s.csv": b"x"}), False),
        (lambda text: zipped({"in.zip": zipped({"s.csv": text.encode()})}), False),
        (lambda text: zipped({"s.csv": text.encode(), "README.txt": b"x"}), False),
        (lambda text: zipped({"s.csv.gz": gzip.compress(text.encode())}), False),
        (lambda text: zipped({"s.csv": text.encode()}, zipfile.ZIP_BZIP2), False),
        (lambda text: zipped({"s.csv": text.encode()}, zipfile.ZIP_LZMA), False),
        (lambda text: gzip.compress(text.encode()), False),
        (lambda text: bz2.compress(text.encode()), False),
        (lambda text: lzma.compress(text.encode()), False),
    ],
)
def test_forms_of_other_programs_are_read(
    tmp_path: Path, change: Callable[[str], bytes], is_plain: bool
) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(change(PLAIN))
    found = read_submission_file(path)
    assert found.submission.row_ids.tolist() == [1, 2, 3]
    assert found.submission.locations.tolist() == [48.5, 30, 0.25]
    assert found.is_plain == is_plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected RowId,Location, found 'an empty file'"),
        (b"Id,Score\n1,2\n", "expected RowId,Location, found 'Id,Score'"),
        (b"RowId,RowId,Location\n1,1,2\n", "expected RowId,Location"),
        (b"RowId,Location\n1,2\n2,far\n", "line 3 is '2,far': 'far' is not a number"),
        (b"RowId,Location\n1\n", "line 2 is '1': expected"),
        (b"RowId,Location\n1,2,3\n", "line 2 is '1,2,3'"),
        (b"RowId,Location\n1,\n", "line 2 is '1,': RowId 1 has no location"),
        (b"RowId,Location\n1,NaN\n", "RowId 1 has no location"),
        (b"RowId,Location\n1_0,2\n", "'1_0' is not a RowId"),
        (b"RowId,Location\n1,1_0\n", "'1_0' is not a number"),
        ("RowId,Location\n１,2\n".encode(), "'１' is not a RowId"),
        ("RowId,Location\n1,２.5\n".encode(), "'２.5' is not a number"),
        (b"RowId,Location\n1e3,2\n", "'1e3' is not a RowId"),
        (b"RowId,Location\n-1,2\n", "'-1' is not a RowId"),
        (b'RowId,Location\n1,"1,234.5"\n', "'1,234.5' is not a number"),
        (b"RowId,Location\n1,0x1F\n", "'0x1F' is not a number"),
        (b"RowId,Location\n1,1e999\n", "'1e999' is not a number"),
        (b"RowId,Location\n1,inf\n", "'inf' is not a number"),
        (b"RowId,Location\n1.5,2\n", "'1.5' is not a RowId"),
        (b"\xff\xfeR", "is not text"),
        (b"RowId,Location\n1,\xff\n", "line 2: not text"),
        (zipped({}), "holds no CSV file (it is empty)"),
        (zipped({"a.csv": b"", "b.csv": b""}), "holds 2 files that can be the CSV file"),
        (zipped({"a.txt2": b""}), "holds no CSV file (a.txt2)"),
        (zipped({"s.csv": PLAIN.encode()})[:60], "is damaged"),
        (encrypted(zipped({"s.csv": PLAIN.encode()})), "is encrypted"),
        (gzip.compress(PLAIN.encode())[:25], "is damaged"),
        (bz2.compress(PLAIN.encode())[:40], "is damaged"),
        (lzma.compress(PLAIN.encode())[:40], "is damaged"),
        (b"7z\xbc\xaf\x27\x1c rest", "is a 7z archive"),
        (b"<!DOCTYPE html>", "is a web page"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    with pytest.raises(SubmissionError) as caught:
        read_submission_file(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "s.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(300):
            stream.write(bytes(1 << 20))
    with pytest.raises(SubmissionError, match="holds more than 268 MB"):
        read_submission_file(path)

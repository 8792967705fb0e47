"""Credentials: every place and encoding in which they can lie, and what is sent to whom."""

from __future__ import annotations

import base64
import codecs
import json
import warnings
from pathlib import Path

import pytest
from fake_kaggle import USER, FakeKaggle

from fkd_kaggle.errors import CompetitionError, NoteWarning, redact
from fkd_kaggle.kaggle_api import credentials
from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.kaggle_api.retry import RetryPolicy
from fkd_kaggle.practice.server import PracticeKaggle

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
TOKEN = "KGAT_0123456789abcdef"
OTHER = "token-without-a-known-form"
JSON = json.dumps({"username": USER, "key": KEY})

ENCODINGS = {
    "plain": lambda text: text.encode(),
    "BOM": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 BE": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "white space": lambda text: b"\r\n  " + text.encode() + b" \t\r\n\n",
}


def open_session() -> Competition:
    return Competition.open(retry_policy=RetryPolicy(attempts=1, timeout=5))


def authorization(fake: FakeKaggle) -> str:
    return fake.requests[-1][1]["Authorization"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", ["file", "named file", "kaggle.json"])
def test_credentials_are_read_in_every_encoding(
    fake_kaggle: FakeKaggle,
    no_credentials: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    place: str,
) -> None:
    folder = no_credentials / ".kaggle"
    folder.mkdir()
    content = ENCODINGS[encoding](JSON if place == "kaggle.json" else OTHER)
    name = {"file": "access_token", "named file": "mine", "kaggle.json": "kaggle.json"}[place]
    (folder / name).write_bytes(content)
    if place == "named file":
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(folder / name))
    session = open_session()
    assert session.submissions() == []
    assert session.user == USER
    basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
    expected = f"Basic {basic}" if place == "kaggle.json" else f"Bearer {OTHER}"
    assert authorization(fake_kaggle) == expected


@pytest.mark.parametrize("length", [200, 256, 5000])
@pytest.mark.parametrize("in_notebook", [False, True])
def test_long_tokens_are_no_names_of_files(
    fake_kaggle: FakeKaggle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    length: int,
    in_notebook: bool,
) -> None:
    token = "eyJ" + "a" * length
    if in_notebook:
        (tmp_path / "token").write_text(token)
        monkeypatch.setenv("KAGGLE_API_V1_TOKEN", str(tmp_path / "token"))
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    else:
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    assert open_session().submissions() == []
    assert authorization(fake_kaggle) == f"Bearer {token}"


def test_white_space_around_a_token_is_removed(
    fake_kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"  {TOKEN}\n")
    assert open_session().submissions() == []
    assert authorization(fake_kaggle) == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("kaggle.json", b'["ada", "KEY"]', "not a JSON object"),
        ("kaggle.json", b"5", "not a JSON object"),
        ("kaggle.json", b"null", "not a JSON object"),
        ("kaggle.json", b"{'username': 'ada', 'key': 'KEY'}", "is not JSON"),
        ("kaggle.json", b'{"username": "ada",\n "key": KEY}', "line 2"),
        ("kaggle.json", b'{"key": "KEY"}', "no text for username"),
        ("kaggle.json", b'{"username": 5, "key": "KEY"}', "no text for username"),
        ("kaggle.json", b'{"username": "ada", "key": ["KEY"]}', "no text for key"),
        ("kaggle.json", '{"username": "Łukasz", "key": "KEY"}'.encode(), "user name"),
        ("kaggle.json", b"\x80\x81KEY\xff", "no text in UTF-8"),
        ("kaggle.json", b"[" * 100_000, "is not JSON"),
        ("kaggle.json.txt", b'{"username": "ada", "key": "KEY"}', "rename it to kaggle.json"),
        ("kaggle (1).json", b'{"username": "ada", "key": "KEY"}', "rename it to kaggle.json"),
        ("access_token", b"KEY\x80\xff", "no text in UTF-8"),
        ("access_token", b"\x00\x01\x02KEY", "cannot be sent"),
        ("access_token", b"KEY second line\nthird", "cannot be sent"),
        ("access_token", "KEY–é".encode(), "cannot be sent"),
        ("access_token", b"K" * 3_000_000, "too large"),
        ("credentials.json", b"KEY", "is not JSON"),
        ("credentials.json", b'{"access_token": "KEY"}', "run `kaggle auth login` again"),
    ],
)
def test_unreadable_credentials_are_named_and_not_shown(
    fake_kaggle: FakeKaggle, no_credentials: Path, name: str, content: bytes, words: str
) -> None:
    folder = no_credentials / ".kaggle"
    folder.mkdir()
    (folder / name).write_bytes(content.replace(b"KEY", KEY.encode()))
    with pytest.raises(CompetitionError) as caught:
        open_session()
    message = str(caught.value)
    assert words in message
    assert name.removesuffix(".json") in message
    assert KEY not in message
    assert "\n" not in message
    assert fake_kaggle.requests == []


def test_files_with_credentials_are_listed_in_the_order_of_the_client(
    no_credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = no_credentials / ".kaggle"
    names = ("access_token", "access_token.txt", "credentials.json")
    first, second, last = (home / name for name in names)
    home.mkdir()
    assert credentials.credential_files() == (first, second, home / "kaggle.json", last)
    # The client looks for kaggle.json only in the folder that the variable names.
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    assert credentials.credential_files() == (first, second, tmp_path / "kaggle.json", last)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAGGLE_API_TOKEN": "x" * 5000 + "é"}, "cannot be sent"),
        ({"KAGGLE_API_TOKEN": f"{TOKEN}\nsecond"}, "cannot be sent"),
        ({"KAGGLE_API_TOKEN": "/no/such/file"}, "names a file that does not exist"),
        ({"KAGGLE_USERNAME": "Łukasz", "KAGGLE_KEY": KEY}, "the user name in KAGGLE_USERNAME"),
        ({"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": f"{KEY}\n{KEY}"}, "the key in"),
        ({"KAGGLE_CONFIG_DIR": __file__}, "KAGGLE_CONFIG_DIR names the file"),
    ],
)
def test_invalid_variables_are_named_and_not_shown(
    fake_kaggle: FakeKaggle,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CompetitionError) as caught:
        open_session()
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert fake_kaggle.requests == []


def test_unreadable_file_is_named(no_credentials: Path) -> None:
    (no_credentials / ".kaggle" / "access_token").mkdir(parents=True)
    with pytest.raises(CompetitionError, match=r"access_token is there, but cannot be read: Is a"):
        open_session()


def test_token_that_kaggle_rejects_is_an_error(
    fake_kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    fake_kaggle.answers["IntrospectToken"] = {"active": False}
    with pytest.raises(CompetitionError, match="does not accept your credentials") as caught:
        open_session()
    assert "KAGGLE_API_TOKEN" in str(caught.value)


def test_key_that_was_read_from_a_file_is_redacted(
    fake_kaggle: FakeKaggle, no_credentials: Path
) -> None:
    (no_credentials / ".kaggle").mkdir()
    key = "an unusual key!"
    (no_credentials / ".kaggle" / "kaggle.json").write_text(
        json.dumps({"username": USER, "key": key})
    )
    assert credentials.find_credentials() is not None
    assert "unusual" not in redact(f"what a server says: {key}")


SECRETS = {
    "token": ({"KAGGLE_API_TOKEN": TOKEN}, {}),
    "token file": ({}, {"access_token": OTHER}),
    "key": ({"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}, {}),
    "kaggle.json": ({}, {"kaggle.json": JSON}),
    "everything": (
        {"KAGGLE_API_TOKEN": TOKEN, "KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY},
        {"access_token": OTHER, "kaggle.json": JSON, "credentials.json": '{"refresh_token": "r"}'},
    ),
}


@pytest.mark.parametrize("place", SECRETS)
def test_practice_kaggle_gets_a_name_at_most(
    fake_kaggle: FakeKaggle, no_credentials: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    variables, files = SECRETS[place]
    (no_credentials / ".kaggle").mkdir()
    for name, text in files.items():
        (no_credentials / ".kaggle" / name).write_text(text)
    for name, value in {
        **variables,
        "KAGGLE_API_ENVIRONMENT": "TEST",
        "FKD_PRACTICE_URL": fake_kaggle.url,
        # A proxy that would see the requests: they would not arrive at the server below.
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    session = open_session()
    session.submissions()
    assert session.user == ("practice" if place in ("token", "token file") else USER)
    assert len(fake_kaggle.requests) == 1
    for secret in (KEY, TOKEN, OTHER):
        assert secret not in fake_kaggle.sent()
        assert base64.b64encode(f"{USER}:{secret}".encode()).decode() not in fake_kaggle.sent()
    pair = base64.b64decode(authorization(fake_kaggle).removeprefix("Basic ")).decode()
    assert pair == f"{session.user}:practice"


def test_practice_kaggle_that_redirects_elsewhere_gets_no_request_there(
    fake_kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fkd_kaggle.kaggle_api import transport

    rules = transport.ConnectionRules(5.0, practice_user=USER)
    import requests

    with (
        transport.connection_rules(rules),
        pytest.raises(requests.exceptions.InvalidURL, match="names an address elsewhere"),
    ):
        requests.get("http://192.0.2.1/", auth=(USER, KEY))


def test_unreadable_credentials_are_a_note_on_a_practice_kaggle(
    practice: PracticeKaggle, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text("[]")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert Competition.open().user == "practice"
    notes = [str(one.message) for one in caught if one.category is NoteWarning]
    assert len(notes) == 1
    assert "kaggle.json is there, but is not a JSON object" in notes[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:x\\@localhost:7777",
        "http://localhost:7777@evil.example",
        "http://evil.example#@localhost",
        "http://evil.example\\.localhost",
        "http://localhost.evil.example:7777",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://local\thost:7777",
        "http://localhost:7777\r\nX: y",
        "http://user:pass@localhost:7777",
        "https://localhost:7777",
        "ftp://localhost",
        "localhost:7777",
        "http://",
        "http://127.1:80",
        "http://0x7f000001",
        "http://ⓛocalhost",
        "http://localhost:7777/path",
        "http://localhost:7777?x=1",
    ],
)
def test_address_of_another_machine_is_refused(
    no_credentials: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("FKD_PRACTICE_URL", url)
    with pytest.raises(CompetitionError, match=r"http://localhost:PORT") as caught:
        open_session()
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:7777/", "http://localhost:7777"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://LOCALHOST:1", "http://localhost:1"),
    ],
)
def test_address_of_this_machine_is_accepted(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    from fkd_kaggle.kaggle_api.endpoint import practice_url

    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("FKD_PRACTICE_URL", url)
    assert practice_url() == expected


@pytest.mark.parametrize("name", ["kaggle.json", "access_token"])
@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_empty_file_of_credentials_is_not_called_missing(
    no_credentials: Path, name: str, content: bytes
) -> None:
    (no_credentials / ".kaggle").mkdir()
    (no_credentials / ".kaggle" / name).write_bytes(content)
    with pytest.raises(CompetitionError, match=rf"{name} is there, but is empty: create"):
        open_session()


def test_link_to_nothing_and_file_in_place_of_the_folder_are_named(no_credentials: Path) -> None:
    folder = no_credentials / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").symlink_to(folder / "moved.json")
    with pytest.raises(CompetitionError, match="is a link to a file that does not exist"):
        open_session()
    (folder / "kaggle.json").unlink()
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(CompetitionError, match=r"\.kaggle is a file, not a folder"):
        open_session()

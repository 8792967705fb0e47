"""Credentials for Kaggle: where they lie, and how they are given to the official client.

This module finds credentials as the client does (same places, same order), because the client
ignores files that it cannot read and sends tokens as they are. Never prints credentials.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import CompetitionError, register_secret
from fkd_kaggle.kaggle_api import errors
from fkd_kaggle.kaggle_api.text_file import read_text

PRACTICE_USER: Final = "practice"
"""User name on a practice Kaggle for users without a name, and everybody's key there."""

NO_TOKEN: Final = {"KAGGLE_API_TOKEN": os.devnull, "KAGGLE_API_V1_TOKEN": ""}
"""Environment variables with which the client finds no token: the file that it names is empty."""

_LONGEST_NAME: Final = 200
"""Characters that the name of a file can have on all systems."""

_PLACEHOLDERS: Final = {**NO_TOKEN, "KAGGLE_USERNAME": "x", "KAGGLE_KEY": "x"}
"""Environment variables with which importing the client sends no request."""


@dataclass(frozen=True)
class Credentials:
    """What identifies the user. ``repr`` shows no secret."""

    source: str
    """Where they come from, for messages."""
    variables: Mapping[str, str]
    """Environment variables from which the client reads them."""

    def __repr__(self) -> str:
        return f"Credentials({self.source!r})"


def find_credentials() -> Credentials | None:
    """Return the credentials in the environment or in the client's files; None without any.

    Raises
    ------
    CompetitionError
        Credentials are there, but cannot be read or sent. The message names place and problem.
    """
    return _find_token() or _find_key() or _find_login()


def practice_user() -> tuple[str, str]:
    """Return the user's name for a practice Kaggle, and a note; both can be the default.

    The name is the only part of the credentials that a practice Kaggle gets. The note says which
    credentials are unreadable.
    """
    try:
        found = _find_key()
        name = found.variables["KAGGLE_USERNAME"] if found else ""
        find_credentials()
    except CompetitionError as error:
        return PRACTICE_USER, f"{error} (a practice Kaggle needs none)"
    return name.replace(":", "") or PRACTICE_USER, ""


@contextmanager
def offline_import() -> Iterator[None]:
    """Let the import of the client find placeholders, because it authenticates."""
    with environment_variables(_PLACEHOLDERS):
        yield


def authenticate(api: Any, found: Credentials) -> None:
    """Make the client use credentials; asks Kaggle whether a token is valid.

    Raises
    ------
    CompetitionError
        Kaggle does not accept a token.
    """
    api.config = os.devnull  # the variables contain everything that kaggle.json contains
    with _short_variables(found.variables) as variables, environment_variables(variables):
        try:
            api.authenticate()
        except SystemExit:  # It exits without credentials.
            raise errors.rejected_credentials_error(found.source) from None
    method = api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)
    is_token = "KAGGLE_USERNAME" not in found.variables
    if method is None or (is_token and method == "LEGACY_API_KEY"):
        raise errors.rejected_credentials_error(found.source)


def use_practice_credentials(api: Any, user: str) -> None:
    """Make the client use a name and a key that is no secret; sends no request."""
    api.config = os.devnull
    variables = {**NO_TOKEN, "KAGGLE_USERNAME": user, "KAGGLE_KEY": PRACTICE_USER}
    with environment_variables(variables):
        api.authenticate()


@contextmanager
def environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block and restore them afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _short_variables(variables: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Yield the variables with a long token in a file that only this user can read.

    kagglesdk tries the token as the name of a file first, which fails if it is longer than file
    names can be, as the tokens of Kaggle's notebooks are.
    """
    name = "KAGGLE_API_TOKEN"
    if len(variables.get(name, "")) <= _LONGEST_NAME:
        yield variables
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "token")
        path.write_text(variables[name])  # the folder is private
        yield {**variables, name: str(path)}


def _find_token() -> Credentials | None:
    """Return the access token: of a Kaggle notebook, of the environment, or of a file."""
    notebook = os.environ.get("KAGGLE_API_V1_TOKEN")
    if notebook and os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return _token(read_text(Path(notebook)), "the token of this notebook")
    given = (os.environ.get("KAGGLE_API_TOKEN") or "").strip()
    if given:
        path = _as_path(given)
        if path is None:
            return _token(given, "the token in KAGGLE_API_TOKEN")
        return _token(read_text(path), f"the token in {path} (KAGGLE_API_TOKEN)")
    for path in _token_files():
        if path.exists():
            found = _token(read_text(path), f"the token in ~/.kaggle/{path.name}")
            if found is not None:
                return found
    return None


def _find_key() -> Credentials | None:
    """Return user name and key: of the environment, completed by kaggle.json."""
    name = (os.environ.get("KAGGLE_USERNAME") or "").strip()
    key = (os.environ.get("KAGGLE_KEY") or "").strip()
    source = "KAGGLE_USERNAME and KAGGLE_KEY"
    path = _key_file()
    if not (name and key) and path.exists():
        stored = _read_kaggle_json(path)
        name, key = name or stored["username"], key or stored["key"]
        source = f"user name and key in {path}"
    if not (name and key):
        return None
    for what, value in (("user name", name), ("key", key)):
        if not (value.isascii() and value.isprintable()):
            raise CompetitionError(
                f"the {what} in {source} contains a character that Kaggle does not use: copy it "
                f"again from {errors.SETTINGS}/api"
            )
    register_secret(key)
    return Credentials(source, {**NO_TOKEN, "KAGGLE_USERNAME": name, "KAGGLE_KEY": key})


def _find_login() -> Credentials | None:
    """Return the login of ``kaggle auth login``, which the client reads itself."""
    path = _login_file()
    if not path.exists():
        _check_useless_files()
        return None
    stored = _read_json_object(path)
    if not stored.get("refresh_token"):
        raise CompetitionError(f"{path} contains no login: run `kaggle auth login` again")
    for name in ("refresh_token", "access_token"):
        register_secret(str(stored.get(name) or ""))
    return Credentials("the login of `kaggle auth login`", NO_TOKEN)


def credential_files() -> tuple[Path, ...]:
    """Return the files in which the client looks for credentials, whether they exist or not.

    They are access_token, access_token.txt and credentials.json in ``~/.kaggle``, and kaggle.json
    in ``config_folder()``, in the order in which they are read. A file that KAGGLE_API_TOKEN names
    is not among them.

    Raises
    ------
    CompetitionError
        KAGGLE_CONFIG_DIR names a file.
    """
    return (*_token_files(), _key_file(), _login_file())


def _token_files() -> tuple[Path, ...]:
    """Return the files in which the client looks for an access token."""
    return tuple(Path.home() / ".kaggle" / name for name in ("access_token", "access_token.txt"))


def _key_file() -> Path:
    """Return the file in which the client looks for user name and key."""
    return config_folder() / "kaggle.json"


def _login_file() -> Path:
    """Return the file in which the client looks for the login of ``kaggle auth login``."""
    return Path.home() / ".kaggle" / "credentials.json"


def config_folder() -> Path:
    """Return the folder in which the client looks for kaggle.json.

    Raises
    ------
    CompetitionError
        KAGGLE_CONFIG_DIR names a file.
    """
    chosen = os.environ.get("KAGGLE_CONFIG_DIR")
    if chosen:
        if Path(chosen).is_file():
            raise CompetitionError(
                f"KAGGLE_CONFIG_DIR names the file {chosen}: set it to the folder of kaggle.json"
            )
        return Path(chosen)
    folder = Path.home() / ".kaggle"
    if sys.platform.startswith("linux") and not folder.exists():
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    return folder


def _check_useless_files() -> None:
    """Raise an error for what looks like credentials and is none.

    That is a file with a name that browsers and editors make, an empty file, or a link to nothing.
    """
    home = Path.home() / ".kaggle"
    if home.is_file():
        raise CompetitionError(f"{home} is a file, not a folder of credentials: rename it")
    for path in (*_token_files(), _key_file()):
        if path.is_symlink() and not path.exists():
            raise CompetitionError(
                f"{path} is a link to a file that does not exist: create it again at "
                f"{errors.SETTINGS}/api"
            )
        # The client itself writes an empty JSON object.
        if path.is_file() and not read_text(path).strip():
            raise CompetitionError(
                f"{path} is there, but is empty: create it again at {errors.SETTINGS}/api"
            )
    for folder in dict.fromkeys((config_folder(), Path.home() / ".kaggle")):
        for pattern in ("kaggle.json.*", "kaggle (*).json", "kaggle.txt", "access_token.*"):
            for path in sorted(folder.glob(pattern)):
                if path.is_file() and path.stat().st_size and path.name != "access_token.txt":
                    right = "kaggle.json" if "kaggle" in path.name else "access_token"
                    raise CompetitionError(
                        f"no Kaggle credentials found, but {path} is there: rename it to {right}"
                    )


def _token(text: str, source: str) -> Credentials | None:
    """Return a token's credentials; None for an empty file."""
    token = text.strip().strip("\"'").strip()
    if not token:
        return None
    register_secret(token)
    for part in token.split():
        register_secret(part)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CompetitionError(
            f"{source} contains a character that cannot be sent (a space, a line break or a letter "
            f"outside ASCII): create a new token at {errors.SETTINGS}/api and copy it alone"
        )
    return Credentials(source, {"KAGGLE_API_TOKEN": token, "KAGGLE_API_V1_TOKEN": ""})


def _as_path(text: str) -> Path | None:
    """Return the file that KAGGLE_API_TOKEN names; None if the value is the token itself."""
    try:
        path = Path(text).expanduser()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError):
        return None
    if len(text) < 200 and text.startswith(("/", "~", "./", "../")):
        raise CompetitionError(
            "KAGGLE_API_TOKEN names a file that does not exist: correct the path or set the token"
        )
    return None


def _read_kaggle_json(path: Path) -> dict[str, str]:
    """Return user name and key in kaggle.json."""
    stored = _read_json_object(path)
    if not stored:
        return {"username": "", "key": ""}  # an empty object, as the client writes it
    missing = [
        name
        for name, variable in (("username", "KAGGLE_USERNAME"), ("key", "KAGGLE_KEY"))
        if not (isinstance(stored.get(name), str) and stored[name].strip())
        and not os.environ.get(variable)
    ]
    if missing and not {"username", "key"}.isdisjoint(stored):
        raise CompetitionError(
            f"{path} is there, but has no text for {' and '.join(missing)}: create a new token at "
            f"{errors.SETTINGS}/api"
        )
    values = {name: stored.get(name) for name in ("username", "key")}
    return {name: v.strip() if isinstance(v, str) else "" for name, v in values.items()}


def _read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty for an empty file."""
    text = read_text(path)
    if not text.strip():
        return {}
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CompetitionError(
            f"{path} is there, but is not JSON ({type(error).__name__}{line}): download it again "
            f"from {errors.SETTINGS}/api"
        ) from None
    if not isinstance(stored, dict):
        raise CompetitionError(
            f"{path} is there, but is not a JSON object with username and key: download it again "
            f"from {errors.SETTINGS}/api"
        )
    return stored

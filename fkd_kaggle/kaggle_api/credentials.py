"""Credentials for Kaggle: how the official client finds them, and where they come from.

Never returns or prints the credentials themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from fkd_kaggle.kaggle_api import errors

PRACTICE_USER: Final = "practice"
"""User name and key on a practice Kaggle for users without credentials."""

PRACTICE_CREDENTIALS: Final = {"KAGGLE_USERNAME": PRACTICE_USER, "KAGGLE_KEY": PRACTICE_USER}
"""Environment variables with the credentials of that user."""


def authenticate(api: Any, *, practice: bool) -> None:
    """Make the client find credentials; on a practice Kaggle, use its user's if there are none."""
    config = api.read_config_environment(api.read_config_file(quiet=True))
    known = config.get(api.CONFIG_NAME_USER) and config.get(api.CONFIG_NAME_KEY)
    # With a name and a key, the client does not use the credentials of `kaggle auth login`, which
    # it would renew or delete according to the practice Kaggle's answers.
    variables = PRACTICE_CREDENTIALS if practice and not known else {}
    with environment_variables(variables), suppress(SystemExit):  # It exits without credentials.
        api.authenticate()


def check_credentials(api: Any) -> None:
    """Check that the client has found credentials.

    Raises
    ------
    CompetitionError
        There are none, or Kaggle has rejected the token.
    """
    from kagglesdk import get_access_token_from_env

    method = api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)
    if method != "ACCESS_TOKEN" and get_access_token_from_env()[0]:
        # Kaggle reports that the token is not active, but the client would send it nevertheless.
        raise errors.rejected_credentials_error(credentials_source(api))
    names = (api.CONFIG_NAME_USER, api.CONFIG_NAME_KEY)
    empty = not all(api.get_config_value(name) for name in names)
    if method is None or (method == "LEGACY_API_KEY" and empty):
        raise errors.missing_credentials_error()


def credentials_source(api: Any) -> str:
    """Return where the credentials come from; the client prefers a token to name and key."""
    from kagglesdk import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token:
        return f"the token in {'~/.kaggle/access_token' if source == 'access_token' else source}"
    if api.get_config_value(api.CONFIG_NAME_AUTH_METHOD) == "OAUTH":
        return "from `kaggle auth login`"
    return f"user name and key of {api.get_config_value(api.CONFIG_NAME_USER)}"


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
                del os.environ[name]
            else:
                os.environ[name] = value

"""Which Kaggle is used: Kaggle itself, or a practice Kaggle on this machine."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from fkd_kaggle.errors import CompetitionError

ENVIRONMENT: Final = "KAGGLE_API_ENVIRONMENT"
"""Environment variable of the official client: PROD (the default), TEST or LOCALHOST."""

PRACTICE_ENDPOINTS: Final = {"TEST": "http://localhost:7777", "LOCALHOST": "http://localhost"}
"""Values of KAGGLE_API_ENVIRONMENT that select this machine, and their addresses."""

PRACTICE_URL: Final = "FKD_PRACTICE_URL"
"""Environment variable for another address of the practice Kaggle: http://localhost:PORT."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def practice_url() -> str | None:
    """Return the address of the practice Kaggle that the environment selects; None for Kaggle.

    The address is composed of the parsed host and port, so that no library can read another host
    in it.

    Raises
    ------
    CompetitionError
        The environment selects neither, or the address is invalid or of another machine.
    """
    environment = os.environ.get(ENVIRONMENT) or "PROD"
    if environment == "PROD":
        return None
    if environment not in PRACTICE_ENDPOINTS:
        raise CompetitionError(
            f"{ENVIRONMENT}={environment} is unknown: use TEST for a practice Kaggle, or unset it "
            "for Kaggle itself"
        )
    text = os.environ.get(PRACTICE_URL) or PRACTICE_ENDPOINTS[environment]
    host, port = _parse(text)
    # A practice Kaggle binds loopback only, and its requests are not encrypted.
    if host not in _LOOPBACK:
        raise CompetitionError(
            f"{PRACTICE_URL}={text} is not on this machine: give it as http://localhost:PORT"
        )
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}" if port is None else f"http://{name}:{port}"


def is_loopback(url: str) -> bool:
    """Return whether a URL is an address of this machine."""
    try:
        return (urlsplit(url).hostname or "") in _LOOPBACK
    except ValueError:
        return False


def point_client_to(practice_url: str) -> None:
    """Set the address of the client's environments for this machine.

    kagglesdk knows KAGGLE_API_ENVIRONMENT=TEST, but the client does not use it: KaggleApi selects
    among PROD, STAGING, ADMIN and LOCAL by its ``args`` (build_kaggle_client_with_params, 2.2.4),
    and with TEST connects to kaggle.com. So LOCAL is used; TEST is set for later clients.
    """
    from kagglesdk import kaggle_env

    for environment in (kaggle_env.KaggleEnv.LOCAL, kaggle_env.KaggleEnv.TEST):
        kaggle_env._env_to_endpoint[environment] = practice_url


def _parse(text: str) -> tuple[str, int | None]:
    """Return host and port of the practice Kaggle's address."""
    invalid = CompetitionError(
        f"{PRACTICE_URL} is no valid address: give it as http://localhost:PORT"
    )
    # Libraries disagree about backslashes, user names and control characters in addresses.
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+/?", text):
        raise invalid
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid from None
    if parts.scheme != "http" or not host:
        raise invalid
    return host, port

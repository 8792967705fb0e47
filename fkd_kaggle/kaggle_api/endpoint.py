"""Which Kaggle is used: Kaggle itself, or a practice Kaggle on this machine."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

from fkd_kaggle.errors import CompetitionError

ENVIRONMENT: Final = "KAGGLE_API_ENVIRONMENT"
"""Environment variable of the official client: PROD (the default), TEST or LOCALHOST."""

PRACTICE_ENDPOINTS: Final = {"TEST": "http://localhost:7777", "LOCALHOST": "http://localhost"}
"""Values of KAGGLE_API_ENVIRONMENT that select this machine, and their addresses."""

PRACTICE_URL: Final = "FKD_PRACTICE_URL"
"""Environment variable for another address of the practice Kaggle: http://localhost:PORT."""


def practice_url() -> str | None:
    """Return the address of the practice Kaggle that the environment selects; None for Kaggle.

    Raises
    ------
    CompetitionError
        The environment selects neither, or another machine.
    """
    environment = os.environ.get(ENVIRONMENT) or "PROD"
    if environment == "PROD":
        return None
    if environment not in PRACTICE_ENDPOINTS:
        raise CompetitionError(
            f"{ENVIRONMENT}={environment} is unknown: use TEST for a practice Kaggle, or unset it "
            "for Kaggle itself"
        )
    url = os.environ.get(PRACTICE_URL) or PRACTICE_ENDPOINTS[environment]
    # Credentials are sent unencrypted, and a practice Kaggle binds loopback only.
    if urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise CompetitionError(
            f"{PRACTICE_URL}={url} is not on this machine: give it as http://localhost:PORT"
        )
    return url.rstrip("/")


def point_client_to(practice_url: str) -> None:
    """Set the address of the client's environments for this machine.

    kagglesdk knows KAGGLE_API_ENVIRONMENT=TEST, but the client does not use it: KaggleApi selects
    among PROD, STAGING, ADMIN and LOCAL by its ``args`` (build_kaggle_client_with_params, 2.2.4),
    and with TEST connects to kaggle.com. So LOCAL is used; TEST is set for later clients.
    """
    from kagglesdk import kaggle_env

    for environment in (kaggle_env.KaggleEnv.LOCAL, kaggle_env.KaggleEnv.TEST):
        kaggle_env._env_to_endpoint[environment] = practice_url

"""How often and how long to wait for Kaggle."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fkd_kaggle.kaggle_api import responses


@dataclass(frozen=True)
class RetryPolicy:
    """How often to repeat a request, and how long to wait between attempts."""

    attempts: int = 6
    first_wait: float = 1.0
    """Seconds after the first attempt; doubled after each further attempt."""
    longest_wait: float = 30.0
    """Seconds."""
    longest_retry_after: float = 300.0
    """Seconds. If Kaggle asks for a longer wait, the request fails at once."""
    timeout: float = 30.0
    """Seconds without progress of an answer after which an attempt fails, see ``transport``."""
    silent_attempts: int = 3
    """Attempts without an answer after which the request fails."""
    sleep: Callable[[float], None] = time.sleep
    """Called with the seconds to wait."""
    on_wait: Callable[[str, float], None] = lambda reason, seconds: None
    """Called before each wait with what is being done and the seconds."""

    def wait_after(self, attempt: int, error: Exception) -> float | None:
        """Return the seconds to wait after attempt 1, 2, … has failed; None to give up."""
        if attempt >= self.attempts:
            return None
        requested = responses.retry_after(error)
        if requested is not None:
            return requested if requested <= self.longest_retry_after else None
        return self._growing_wait(attempt)

    def wait_without_end(self, attempt: int, error: Exception) -> float:
        """Return the seconds to wait after attempt 1, 2, … of a request that is never given up.

        Kaggle's Retry-After is respected between ``first_wait`` and ``longest_retry_after``.
        """
        requested = responses.retry_after(error)
        if requested is not None:
            return max(self.first_wait, min(requested, self.longest_retry_after))
        return self._growing_wait(attempt)

    def _growing_wait(self, attempt: int) -> float:
        """Return the seconds to wait after attempt 1, 2, … if Kaggle names no time."""
        doublings = min(attempt - 1, 30)  # 2.0 ** 1024 is an OverflowError.
        wait = min(self.longest_wait, self.first_wait * 2.0**doublings)
        # Random, so that processes refused at the same time do not return at the same time.
        return wait * random.uniform(0.75, 1.25)

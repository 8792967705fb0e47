"""Names of this machine in requests to loopback servers."""

from __future__ import annotations

import pytest

from fkd_kaggle.report.loopback import is_this_machine


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_names_of_this_machine_are_accepted(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.org", "evil.org:8000", "localhost.evil.org", "evil.localhost:8000", "127.0.0.1.org"],
)
def test_other_names_are_refused(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize(
    ("host", "port", "is_valid"),
    [
        ("localhost:8000", 8000, True),
        ("localhost:8001", 8000, False),
        ("localhost", 8000, False),
        ("localhost", 80, True),
    ],
)
def test_a_port_must_be_the_server_s(host: str, port: int, is_valid: bool) -> None:
    assert is_this_machine(host, port) == is_valid

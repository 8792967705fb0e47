"""The connection to a Ray cluster, with a module that records how Ray is started."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fkd_kaggle
from fkd_kaggle.errors import FkdError
from fkd_kaggle.workers import ray_connection


class RecordingRay(ModuleType):
    """The module ``ray``: keeps the arguments of ``init``, which raises ``errors`` first.

    Like Ray, ``init`` replaces the handler of SIGTERM.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.__version__ = "2.50.0"
        self.connected = False
        self.errors: list[Exception] = []
        self.calls: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    def is_initialized(self) -> bool:
        return self.connected

    def init(self, *address: str, **options: Any) -> None:
        self.calls.append((address, options))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.errors:
            raise self.errors.pop(0)
        self.connected = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RecordingRay:
    module = RecordingRay()
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return module


@pytest.fixture
def address() -> Iterator[str]:
    """HOST:PORT where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_nodes_get_this_package_and_the_backend(
    ray: RecordingRay, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert ray_connection.connect(address) is ray
    ((where, options),) = ray.calls
    assert where == (address,)
    environment = options["runtime_env"]
    assert environment["py_modules"] == [str(Path(fkd_kaggle.__file__).parent)]
    assert environment["env_vars"]["KERAS_BACKEND"] == "jax"


def test_a_cluster_is_started_on_this_machine_if_there_is_none(ray: RecordingRay) -> None:
    ray.errors = [ConnectionError("no cluster")]
    ray_connection.connect("auto")
    (first, _), (second, options) = ray.calls
    assert (first, second) == (("auto",), ())
    assert options["include_dashboard"] is False


def test_a_remote_client_gets_no_options_that_ray_refuses_there(
    ray: RecordingRay, address: str
) -> None:
    ray_connection.connect(f"ray://{address}")
    ((where, options),) = ray.calls
    assert where == (f"ray://{address}",)
    assert options.keys() == {"runtime_env"}


def test_a_connection_is_kept(ray: RecordingRay) -> None:
    assert ray_connection.connect("auto") is ray_connection.connect("auto")
    assert len(ray.calls) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_handler_of_sigterm_stays(ray: RecordingRay, fails: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    if fails:
        ray.errors = [RuntimeError("no")]
        with pytest.raises(FkdError):
            ray_connection.connect("auto")
    else:
        ray_connection.connect("auto")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Version mismatch: 2.49"), "other versions of Ray or Python than this"),
        (ValueError("install ray[client]\nfirst"), "pip install 'ray[client]'"),
        (
            ConnectionError("Traceback (most recent call last):\n  File x\nKeyError: 'no GCS'\n"),
            "(KeyError: 'no GCS'): does it run Ray 2.50.0",
        ),
        (TimeoutError(), "(TimeoutError): does it run Ray"),
    ],
    ids=["versions", "client", "traceback", "no text"],
)
def test_an_error_of_ray_is_one_line_with_the_address(
    ray: RecordingRay, address: str, error: Exception, words: str
) -> None:
    ray.errors = [error]
    with pytest.raises(FkdError) as caught:
        ray_connection.connect(address)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert address in message or "ray[client]" in message

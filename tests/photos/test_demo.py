"""Tests of the demo's server: who may ask it what. ``test_demo_page`` uses a browser."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import FkdError
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos import demo
from fkd_kaggle.photos.demo import DemoServer
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.prediction import PhotoModel


class OneFace:
    """A model that finds one face in the middle of each photo that is not black."""

    point_names = KEYPOINT_NAMES
    calibration = None

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, photo: np.ndarray) -> list[PhotoFace]:
        self.gate.wait(30)
        self.shapes.append(photo.shape)
        if not photo.any():
            return []
        centre = np.array(photo.shape[1::-1]) / 2
        points = np.tile(centre, (15, 1)) + np.arange(15)[:, None]
        return [PhotoFace(1, (1.0, 2, 30, 40), points, float("nan"), 0.9)]


@pytest.fixture
def model() -> OneFace:
    """The model of the server."""
    return OneFace()


@pytest.fixture
def server(model: OneFace) -> Iterator[DemoServer]:
    """A running demo."""
    demo_server = DemoServer(cast("PhotoModel", model), "<b>run</b>", port=0)
    thread = threading.Thread(target=demo_server.serve)
    thread.start()
    yield demo_server
    model.gate.set()
    demo_server.stop()
    thread.join()


def ask(
    server: DemoServer, path: str = "/", data: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Return status and body of a request; JSON is parsed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, data, named)
    try:
        with urllib.request.urlopen(request) as response:
            status, body, kind = response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        status, body, kind = error.code, error.read(), error.headers
    return status, json.loads(body) if "json" in kind["Content-Type"] else body.decode()


def picture(size: tuple[int, int] = (64, 48), grey: int = 90, kind: str = "PNG") -> bytes:
    """Return the bytes of a picture."""
    stream = io.BytesIO()
    Image.new("L", size, grey).save(stream, kind)
    return stream.getvalue()


def token(server: DemoServer) -> str:
    """Return the token of the page."""
    found = re.search(r'"token": "([^"]+)"', ask(server)[1])
    assert found
    return found[1]


def test_a_picture_is_answered_with_its_faces(server: DemoServer) -> None:
    given = token(server)
    status, answer = ask(server, "/faces", picture(), X_Demo_Token=given)
    assert (status, answer["width"], answer["height"]) == (200, 64, 48)
    (face,) = answer["faces"]
    assert face["points"][0] == [32.0, 24.0]
    assert face["expected_error"] is None
    assert ask(server, "/faces", picture(grey=0), X_Demo_Token=given)[1]["faces"] == []


def test_requests_of_other_sites_are_refused(server: DemoServer, model: OneFace) -> None:
    given = token(server)
    foreign: Sequence[dict[str, str]] = (
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "example.org"},  # another name for this machine (DNS rebinding)
        {"Host": f"evil.localhost:{server.port}"},
        {"X_Demo_Token": "guessed"},
    )
    for headers in foreign:
        status, _ = ask(server, "/faces", picture(), **{"X_Demo_Token": given, **headers})
        assert status == 403, headers
    assert not model.shapes
    origin = f"http://127.0.0.1:{server.port}"
    assert ask(server, "/faces", picture(), X_Demo_Token=given, Origin=origin)[0] == 200


@pytest.mark.slow
def test_large_pictures_are_refused_before_they_are_decoded(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = token(server)
    bomb = picture((20_000, 10_000))  # 200 megapixels in less than a megabyte
    large = picture((10_000, 6_000))
    decoded: list[object] = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded.append)
    status, answer = ask(server, "/faces", bomb, X_Demo_Token=given)
    assert status == 422
    assert "million pixels" in answer["error"]
    status, answer = ask(server, "/faces", large, X_Demo_Token=given)
    assert (status, answer["error"].split(",")[0]) == (422, "the picture has 60 megapixels")
    status, answer = ask(server, "/faces", b"x" * (demo.MAX_UPLOAD + 1), X_Demo_Token=given)
    assert status == 413
    assert "25 MB" in answer["error"]
    assert not decoded


@pytest.mark.parametrize("data", [b"", b"text", b"%!PS-Adobe", picture()[:60]])
def test_what_is_not_a_picture_gives_one_line(server: DemoServer, data: bytes) -> None:
    status, answer = ask(server, "/faces", data, X_Demo_Token=token(server))
    assert status == 422
    assert answer["error"].startswith("the picture ")
    assert "\n" not in answer["error"]
    assert "/tmp" not in answer["error"]


@pytest.mark.slow
def test_too_many_requests_are_told_to_wait(
    server: DemoServer, model: OneFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = token(server)
    model.gate.clear()
    statuses = []

    def send() -> None:
        statuses.append(ask(server, "/faces", picture(), X_Demo_Token=given)[0])

    threads = [threading.Thread(target=send) for _ in range(demo.MAX_WAITING + 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(0.3)
    model.gate.set()
    for thread in threads:
        thread.join()
    assert statuses.count(503) == 6
    assert statuses.count(200) == demo.MAX_WAITING


def test_the_page_loads_nothing_from_elsewhere(server: DemoServer) -> None:
    page = ask(server)[1]
    assert "<b>run</b>" not in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)


def test_webcams_of_closed_tabs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = SimpleNamespace(track=lambda photo, time: [])
    monkeypatch.setattr(demo, "FaceTracker", lambda model, live: tracker)
    answers = demo._Answers(cast("PhotoModel", OneFace()))
    for number in range(3 * demo.MAX_SESSIONS):
        answers.frame(np.zeros((4, 4, 3), np.uint8), str(number))
    assert len(answers._trackers) == demo.MAX_SESSIONS


def test_a_taken_port_is_one_line(
    server: DemoServer, model: OneFace, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FkdError, match="is taken"):
        DemoServer(cast("PhotoModel", model), "run", port=server.port)
    assert capfd.readouterr() == ("", "")


def test_the_reason_why_a_port_cannot_be_used_is_named(
    model: OneFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied (while attempting to bind on address …)")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(FkdError, match=r"^port 80 cannot be used: Permission denied: choose"):
        DemoServer(cast("PhotoModel", model), "run", port=80)

"""Tests of the demo's page in Chromium and Firefox, with a fake webcam."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos import demo
from fkd_kaggle.photos.demo import DemoServer
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.prediction import PhotoModel

selenium = pytest.importorskip("selenium")

import firefox  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.slow

PHONE = 360
"""Pixels: width of a phone's screen."""


def face_of(photo: np.ndarray) -> PhotoFace:
    """Return a face in the middle of a photo."""
    height, width = photo.shape[:2]
    points = np.array([width / 2, height / 2]) + 6.0 * np.arange(15)[:, None]
    return PhotoFace(1, (width / 4, height / 4, width / 2, height / 2), points, 1.5, 0.9)


class OneFace:
    """A model that finds a face in every photo."""

    point_names = KEYPOINT_NAMES
    calibration = object()

    def predict(self, photo: np.ndarray) -> list[PhotoFace]:
        return [face_of(photo)]


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running demo."""
    tracker = SimpleNamespace(track=lambda photo, time: [face_of(photo)])
    monkeypatch.setattr(demo, "FaceTracker", lambda model, live: tracker)
    server = DemoServer(cast("PhotoModel", OneFace()), "my run", port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server.url
    server.stop()
    thread.join()


class Chromium:
    """Starts Chromium and asks it what WebDriver does not define."""

    def __init__(self, folder: Path) -> None:
        if not (CHROMIUM and DRIVER):
            pytest.skip("Chromium or its driver is not installed")
        self._folder = folder

    def start(self, *, webcam: bool = False) -> Any:
        """Return a driver; the webcam shows two grey frames."""
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        flags = ["headless=new", "no-sandbox", "disable-dev-shm-usage"]
        flags.append("use-fake-ui-for-media-stream")
        if webcam:
            frames = self._folder / "webcam.y4m"
            write_webcam_file(frames)
            flags.append("use-fake-device-for-media-stream")
            flags.append(f"use-file-for-fake-video-capture={frames}")
        for flag in flags:
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        return webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))

    def set_page_width(self, driver: Any, width: int) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def problems(self, driver: Any) -> list[str]:
        """Return the warnings and errors of the console, without the refused pictures."""
        entries = [str(entry["message"]) for entry in driver.get_log("browser")]
        return [entry for entry in entries if "422" not in entry]


class Firefox:
    """Starts Firefox and asks it what WebDriver does not define."""

    def __init__(self, folder: Path) -> None:
        if not firefox.FIREFOX:
            pytest.skip("Firefox is not installed")
        self._folder = folder

    def start(self, *, webcam: bool = False) -> Any:
        """Return a driver; the webcam shows Firefox's test picture."""
        return firefox.start_firefox(
            self._folder / f"profile{webcam:d}",
            media__navigator__streams__fake=webcam,
            media__navigator__permission__disabled=True,
        )

    def set_page_width(self, driver: Any, width: int) -> None:
        firefox.set_page_width(driver, width)

    def problems(self, driver: Any) -> list[str]:
        """Return the warnings and errors of the console."""
        return firefox.console_errors(driver)


@pytest.fixture(scope="module", params=[Chromium, Firefox], ids=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One of the browsers."""
    return request.param(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def drivers(browser: Any) -> Iterator[dict[bool, Any]]:
    """The started browsers, which takes long: with and without a webcam."""
    started: dict[bool, Any] = {}
    yield started
    for driver in started.values():
        driver.quit()


@pytest.fixture
def open_page(browser: Any, drivers: dict[bool, Any]) -> Callable[..., Any]:
    """A function that opens a page and returns the browser's driver."""

    def show(url: str, *, webcam: bool = False) -> Any:
        if webcam not in drivers:
            drivers[webcam] = browser.start(webcam=webcam)
            drivers[webcam].set_page_load_timeout(60)
        browser.problems(drivers[webcam])
        drivers[webcam].get(url)
        return drivers[webcam]

    return show


def write_webcam_file(path: Path) -> None:
    """Write a video of two grey frames in the format that Chromium's fake webcam reads."""
    with path.open("wb") as stream:
        stream.write(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n")
        for grey in (90, 160):
            stream.write(b"FRAME\n" + bytes([grey]) * (320 * 240) + bytes([128]) * (320 * 120))


def wait_for(driver: Any, element: str, text: str) -> str:
    """Return the text of an element as soon as it contains ``text``."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        shown = str(driver.find_element("id", element).text)
        if text in shown:
            return shown
        time.sleep(0.1)
    raise AssertionError(f"{element} shows {shown!r}, not {text!r}")


def red_pixels(driver: Any) -> int:
    """Return the number of pixels of the drawn points."""
    return int(
        driver.execute_script(
            "const c = document.getElementById('canvas'), d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
            "for (let i = 0; i < d.length; i += 4) n += d[i] > 200 && d[i + 1] < 80; return n;"
        )
    )


def give_file(driver: Any, event: str, member: str, path: Path) -> None:
    """Drop a file on the page, or paste it."""
    driver.execute_script(
        "const [event, member, text] = arguments, given = new DataTransfer();"
        "const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));"
        "given.items.add(new File([bytes], 'a.png', { type: 'image/png' }));"
        # The constructors of the browsers' own events do not all take files.
        "const given_event = new Event(event, { bubbles: true, cancelable: true });"
        "Object.defineProperty(given_event, member, { value: given });"
        "document.getElementById('stage').dispatchEvent(given_event);",
        event,
        member,
        base64.b64encode(path.read_bytes()).decode(),
    )


def test_a_photo_is_shown_with_its_points_at_phone_width(
    url: str, browser: Any, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    driver = open_page(url)
    browser.set_page_width(driver, PHONE)
    assert driver.find_element("id", "title").text == "my run"
    Image.new("RGB", (400, 300), (0, 90, 0)).save(tmp_path / "green.png")
    driver.find_element("id", "file").send_keys(str(tmp_path / "green.png"))
    wait_for(driver, "message", "1 face")
    assert "± 1.5 px" in driver.find_element("id", "faces").text
    assert red_pixels(driver) > 20
    assert driver.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [
        PHONE,
        PHONE,
    ]
    (tmp_path / "text.png").write_text("no picture")
    driver.find_element("id", "file").send_keys(str(tmp_path / "text.png"))
    wait_for(driver, "message", "cannot be used")
    assert not browser.problems(driver)


def test_photos_are_dropped_and_pasted(
    url: str, browser: Any, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    driver = open_page(url)
    Image.new("RGB", (400, 300), (0, 90, 0)).save(tmp_path / "green.png")
    give_file(driver, "drop", "dataTransfer", tmp_path / "green.png")
    wait_for(driver, "speed", "400 × 300")
    assert red_pixels(driver) > 20
    Image.new("RGB", (320, 200), (0, 90, 0)).save(tmp_path / "green.png")
    give_file(driver, "paste", "clipboardData", tmp_path / "green.png")
    wait_for(driver, "speed", "320 × 200")
    wait_for(driver, "message", "1 face")
    assert not browser.problems(driver)


def test_the_webcam_is_followed_until_it_is_stopped(
    url: str, browser: Any, open_page: Callable[..., Any]
) -> None:
    driver = open_page(url, webcam=True)
    driver.find_element("id", "camera").click()
    wait_for(driver, "speed", "frames per second")
    wait_for(driver, "message", "1 face")
    assert red_pixels(driver) > 20
    driver.find_element("id", "camera").click()
    assert driver.find_element("id", "camera").text == "Start the webcam"
    assert not browser.problems(driver)


def test_a_missing_webcam_and_a_stopped_demo_are_explained(
    url: str, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    driver = open_page(url)
    driver.find_element("id", "camera").click()
    wait_for(driver, "message", "there is no webcam")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    driver.execute_script("window.fetch = () => Promise.reject(new TypeError('refused'));")
    driver.find_element("id", "file").send_keys(str(tmp_path / "a.png"))
    wait_for(driver, "message", "the demo was stopped")


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """The address of another site's page, on this machine."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<title>other</title><p id=message>")
    handler = partial(SilentHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class SilentHandler(SimpleHTTPRequestHandler):
    """Does not log requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_page_of_another_site_gets_no_answer(
    url: str,
    other_site: str,
    open_page: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused: list[int] = []
    check = demo._check_origin

    def recorded(request: Any, port: int) -> None:
        try:
            check(request, port)
        except Exception as error:
            refused.append(getattr(error, "code", 0))
            raise

    monkeypatch.setattr(demo, "_check_origin", recorded)
    driver = open_page(other_site)
    # The browser sends a request without unusual headers without asking the demo first.
    driver.execute_script(
        "const show = text => { document.getElementById('message').textContent = text; };"
        "fetch(arguments[0] + 'faces', { method: 'POST', body: 'x', mode: 'no-cors' })"
        ".then(answer => show('answered'), error => show('no answer'));",
        url,
    )
    wait_for(driver, "message", "no answer")
    assert refused == [403]

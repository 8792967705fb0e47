"""Tests of the demo's page in Chromium, with a fake webcam."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed"),
]


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


@pytest.fixture
def open_browser(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens Chromium with flags."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    drivers = []

    def start(*flags: str) -> Any:
        options = webdriver.ChromeOptions()
        assert CHROMIUM and DRIVER
        options.binary_location = CHROMIUM
        for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", *flags):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(DRIVER))
        driver.set_page_load_timeout(60)
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.quit()


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


def problems(driver: Any) -> list[str]:
    """Return the warnings and errors of the browser's console."""
    return [str(entry["message"]) for entry in driver.get_log("browser")]


def test_a_photo_is_shown_with_its_points_at_phone_width(
    url: str, open_browser: Callable[..., Any], tmp_path: Path
) -> None:
    driver = open_browser("window-size=500,900")
    driver.get(url)
    assert driver.find_element("id", "title").text == "my run"
    Image.new("RGB", (400, 300), (0, 90, 0)).save(tmp_path / "green.png")
    driver.find_element("id", "file").send_keys(str(tmp_path / "green.png"))
    wait_for(driver, "message", "1 face")
    assert "± 1.5 px" in driver.find_element("id", "faces").text
    red = driver.execute_script(
        "const c = document.getElementById('canvas'), d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += d[i] > 200 && d[i + 1] < 80; return n;"
    )
    assert red > 20
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    (tmp_path / "text.png").write_text("no picture")
    driver.find_element("id", "file").send_keys(str(tmp_path / "text.png"))
    wait_for(driver, "message", "cannot be used")
    assert not [line for line in problems(driver) if "422" not in line]


def test_the_webcam_is_followed_until_it_is_stopped(
    url: str, open_browser: Callable[..., Any], tmp_path: Path
) -> None:
    webcam = tmp_path / "webcam.y4m"
    write_webcam_file(webcam)
    driver = open_browser(
        "use-fake-device-for-media-stream",
        "use-fake-ui-for-media-stream",
        f"use-file-for-fake-video-capture={webcam}",
    )
    driver.get(url)
    driver.find_element("id", "camera").click()
    wait_for(driver, "speed", "frames per second")
    wait_for(driver, "message", "1 face")
    driver.find_element("id", "camera").click()
    assert driver.find_element("id", "camera").text == "Start the webcam"
    assert not problems(driver)


def test_a_missing_webcam_is_explained(url: str, open_browser: Callable[..., Any]) -> None:
    driver = open_browser("use-fake-ui-for-media-stream")
    driver.get(url)
    driver.find_element("id", "camera").click()
    wait_for(driver, "message", "there is no webcam")


def test_a_stopped_demo_is_explained(
    url: str, open_browser: Callable[..., Any], tmp_path: Path
) -> None:
    driver = open_browser()
    driver.get(url)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    driver.execute_script("window.fetch = () => Promise.reject(new TypeError('refused'));")
    driver.find_element("id", "file").send_keys(str(tmp_path / "a.png"))
    wait_for(driver, "message", "the demo was stopped")

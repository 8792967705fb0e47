"""The page of a run in a browser: selection, corrections, themes, narrow windows, no requests.

Needs Chromium with its driver; without them the tests are skipped.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fkd_kaggle.data import dataset
from fkd_kaggle.data.corrections import Correction, read_corrections
from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.report.run import write_comparison_of_runs, write_run_page
from fkd_kaggle.runs.corrections import store_corrections
from fkd_kaggle.runs.folder import Run

KEYPOINT_WORDS = {name.replace("_", " ") for name in KEYPOINT_NAMES}

selenium = pytest.importorskip("selenium")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium or its driver is not installed"),
]


@pytest.fixture(scope="module")
def page(report_run: Run, report_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of ``report_run``."""
    target = tmp_path_factory.mktemp("page") / "report.html"
    return write_run_page(report_run, report_data, target=target)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the browser saves files in."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    """A headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, page: Path) -> Callable[..., Any]:
    """A function that opens the page and waits until it is ready."""

    def open_page(target: Path = page, width: int = 1200, *, dark: bool = False) -> Any:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(target.as_uri())
        browser.execute_script("localStorage.clear()")
        browser.get(target.as_uri())
        wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
        return browser

    return open_page


def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true value of ``condition``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the browser did not get there"
        time.sleep(0.05)
    return value


def text(browser: Any, name: str) -> str:
    """Return the text of an element by its id."""
    return str(browser.execute_script(f"return document.getElementById('{name}').textContent"))


def click(browser: Any, selector: str) -> None:
    """Click the first element that a CSS selector finds."""
    browser.execute_script(f"document.querySelector({json.dumps(selector)}).click()")


def change(browser: Any, name: str, value: str) -> None:
    """Enter a value in a field or choose it in a list, by the element's id."""
    browser.execute_script(
        f"const field = document.getElementById('{name}'); field.value = {json.dumps(value)};"
        "field.dispatchEvent(new Event('change'))"
    )


def reload(browser: Any) -> None:
    """Load the page again and wait until it is ready."""
    browser.refresh()
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))


def press(browser: Any, key: str) -> None:
    """Press a key in the focused element."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(key).perform()


def requests(browser: Any) -> list[str]:
    """Return the addresses that the browser has requested, without data and files."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [url for url in found if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize("width", [1200, 360])
def test_a_click_on_a_keypoint_s_name_in_the_chart_selects_it(
    show: Callable[..., Any], width: int
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = show(width=width)
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    browser.execute_script("document.getElementById('keypoints').scrollIntoView()")
    labels = "#keypoints .role-axis-label text"
    found = wait(lambda: browser.find_elements("css selector", labels))
    names = [one.text for one in found if one.text in KEYPOINT_WORDS]
    label = next(one for one in found if one.text == names[-1])
    ActionChains(browser).move_to_element(label).click().perform()
    chosen = "return document.getElementById('select-keypoint').selectedOptions[0].textContent"
    wait(lambda: browser.execute_script(chosen) == names[-1])
    annotator = "return document.getElementById('select-annotator').value"
    assert browser.execute_script(annotator) == "-1"


def test_scores_are_readable_without_scrolling_on_a_phone(show: Callable[..., Any]) -> None:
    browser = show(width=360)
    script = "const one = document.querySelector('#scores .table');"
    content, visible = browser.execute_script(script + "return [one.scrollWidth, one.clientWidth]")
    assert content <= visible


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_the_page_has_no_errors_no_requests_and_fits(
    show: Callable[..., Any], width: int, dark: bool
) -> None:
    browser = show(width=width, dark=dark)
    undrawn = (
        "const charts = [...document.querySelectorAll('.chart')];"
        "const next = charts.find(chart => !chart.querySelector('svg'));"
        "next?.scrollIntoView(); return !next"
    )
    wait(lambda: browser.execute_script(undrawn))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert requests(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    click(browser, "#theme")
    other = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert other != back
    # No word of a table cell is broken: no cell is narrower than its longest word.
    assert browser.execute_script(
        "return [...document.querySelectorAll('td:not(.wide), th')]"
        ".every(cell => cell.scrollWidth <= cell.clientWidth + 1)"
    )


def test_a_keypoint_and_a_range_select_faces(show: Callable[..., Any], report_data: Path) -> None:
    browser = show()
    labelled = (dataset.read_training(report_data).keypoints[:, 10, 0] > 0).sum()
    browser.execute_script(
        "const s = document.getElementById('select-keypoint'); s.value = '10';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert text(browser, "faces-count").startswith(f"{labelled} faces, nose tip: distance")
    browser.execute_script(
        "const s = document.getElementById('select-low'); s.value = '2';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert "from 2.00 to any number of px" in text(browser, "faces-count")
    fewer = int(text(browser, "faces-count").split()[0])
    assert 0 < fewer < labelled
    browser.execute_script("fkd.select({predictor: 'deep15'})")
    worse = int(text(browser, "faces-count").split()[0])
    assert worse == labelled  # another predictor resets the range
    drawn = (
        "const c = document.querySelector('#faces-list canvas');"
        "const d = c.getContext('2d').getImageData(60, 60, 60, 60).data;"
        "return new Set(d).size"
    )
    wait(lambda: browser.execute_script(drawn) > 10)


def test_a_dragged_label_is_saved_and_read(
    show: Callable[..., Any], downloads: Path, report_data: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser = show()
    training = dataset.read_training(report_data)
    browser.execute_script("fkd.openViewer(0, 10, 'blend', [[0, 10], [1, 10]], 0)")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, '.handle[data-keypoint="10"]'))
    handle = browser.find_element(By.CSS_SELECTOR, '.handle[data-keypoint="10"] .hit')
    pixel = browser.execute_script("return document.getElementById('viewer-face').clientWidth / 64")
    ActionChains(browser).click_and_hold(handle).move_by_offset(
        round(5 * pixel), round(-3 * pixel)
    ).release().perform()
    browser.execute_script("fkd.openViewer(1, 10, 'blend', [[0, 10], [1, 10]], 1)")
    press(browser, "d")
    click(browser, "#viewer-previous")
    click(browser, "#viewer-close")
    assert text(browser, "save-count") == "1 moved, 1 dropped, not saved yet"
    click(browser, "#save")
    saved = downloads / "corrections.csv"
    wait(saved.exists)
    with saved.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["action"] for row in rows] == ["moved", "dropped"]
    moved, dropped = read_corrections(saved, training)
    label = training.keypoints[0, 10]
    assert (moved.x - label[0], moved.y - label[1]) == pytest.approx((5, -3), abs=0.6)
    assert (dropped.row, dropped.keypoint) == (2, 10)
    # The corrections are still there after a reload.
    reload(browser)
    assert text(browser, "save-count") == "1 moved, 1 dropped"
    saved.unlink()


def test_labels_are_corrected_by_keyboard(show: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show(width=360)
    click(browser, "#review-table button[data-open]")
    wait(lambda: browser.execute_script("return document.activeElement.dataset.keypoint"))
    face, keypoint = browser.execute_script(
        "const row = document.querySelector('#review-table tr[data-face]').dataset;"
        "return [Number(row.face), Number(row.keypoint)]"
    )
    before = browser.execute_script(f"return fkd.point(fkd.labels, {face}, {keypoint})")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP):
        press(browser, key)
    found = browser.execute_script(f"return fkd.corrections.get({face}, {keypoint})")
    assert found["action"] == "moved"
    assert (found["x"] - before[0], found["y"] - before[1]) == pytest.approx((0.5, -0.25), abs=0.02)
    press(browser, "u")
    assert browser.execute_script(f"return fkd.corrections.get({face}, {keypoint}) ?? null") is None
    press(browser, "c")
    found = browser.execute_script(f"return fkd.corrections.get({face}, {keypoint})")
    assert found["action"] == "confirmed"
    assert (
        browser.execute_script(
            "return document.querySelector('#review-table .decision').textContent"
        )
        == "confirmed"
    )
    press(browser, Keys.ESCAPE)
    assert not browser.execute_script("return document.getElementById('viewer').open")


def test_an_empty_field_of_a_position_moves_nothing(
    show: Callable[..., Any], report_data: Path
) -> None:
    browser = show()
    x, y = dataset.read_training(report_data).keypoints[0, 10]
    browser.execute_script("fkd.openViewer(0, 10, 'blend', [[0, 10]], 0)")
    wait(lambda: browser.execute_script("return document.getElementById('viewer-x').value"))
    change(browser, "viewer-x", "")
    assert browser.execute_script("return fkd.corrections.get(0, 10) ?? null") is None
    field = "return document.getElementById('viewer-x').value"
    assert float(browser.execute_script(field)) == pytest.approx(x, abs=0.01)
    change(browser, "viewer-x", "40")
    found = browser.execute_script("return fkd.corrections.get(0, 10)")
    assert (found["x"], found["y"]) == (40, pytest.approx(y, abs=0.02))


def test_corrections_of_the_run_that_are_undone_stay_undone(
    show: Callable[..., Any], report_data: Path, tmp_path: Path
) -> None:
    from report_runs import make_run

    run = make_run(report_data, tmp_path, "one", noise=1.0)
    corrections = [Correction(1, 10, "moved", 40.0, 41.0), Correction(2, 10, "moved", 42.0, 43.0)]
    store_corrections(run, corrections, dataset.read_training(report_data))
    browser = show(write_run_page(run, report_data))
    assert text(browser, "save-count") == "2 moved"
    browser.execute_script("fkd.corrections.undo(0, 10)")
    reload(browser)
    assert browser.execute_script("return fkd.corrections.get(0, 10) ?? null") is None
    assert text(browser, "save-count") == "1 moved"
    browser.execute_script("fkd.corrections.set(0, 10, 'confirmed')")
    reload(browser)
    assert text(browser, "save-count") == "1 moved, 1 confirmed"
    browser.execute_script("window.confirm = () => true")
    click(browser, "#clear")
    reload(browser)
    assert text(browser, "save-count") == ""


def test_an_open_table_follows_its_chart(show: Callable[..., Any]) -> None:
    browser = show()
    browser.execute_script("document.querySelector('#keypoints + details').open = true")
    cells = (
        "return [...document.querySelectorAll('#keypoints + details td')]"
        ".map(cell => cell.textContent).join(' ')"
    )
    before = wait(lambda: browser.execute_script(cells))
    change(browser, "select-predictor", "deep15")
    after = browser.execute_script(cells)
    assert after != before
    change(browser, "select-predictor", "blend")
    assert browser.execute_script(cells) == before


def test_a_corrections_file_is_loaded_or_refused(
    show: Callable[..., Any], tmp_path: Path, report_data: Path
) -> None:
    browser = show()
    x, y = dataset.read_training(report_data).keypoints[2, 10]
    header = "row,keypoint,x,y,action,label_x,label_y\n"
    (tmp_path / "good.csv").write_text(f"{header}3,nose_tip,40,41,moved,{x:.2f},{y:.2f}\n")
    (tmp_path / "other.csv").write_text(f"{header}3,nose_tip,40,41,moved,1.00,2.00\n")
    field = browser.find_element("id", "load")
    field.send_keys(str(tmp_path / "other.csv"))
    wait(lambda: "made for another data set" in text(browser, "announcement"))
    field.send_keys(str(tmp_path / "good.csv"))
    wait(lambda: "1 corrections loaded" in text(browser, "announcement"))
    assert text(browser, "save-count") == "1 moved"


def test_a_name_with_markup_stays_text(
    show: Callable[..., Any], report_run: Run, report_data: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from fkd_kaggle.report.run import render_run_page
    from fkd_kaggle.report.run_data import collect_run_data

    attack = "<img src=x onerror=\"document.title='broken'\"></script><script>alert(1)</script>"
    data = collect_run_data(report_run, report_data)
    summary = json.loads(json.dumps(data.summary).replace('"deep15"', json.dumps(attack)))
    predictors = {
        attack if name == "deep15" else name: one for name, one in data.predictors.items()
    }
    target = tmp_path / "hostile.html"
    target.write_text(
        render_run_page(replace(data, summary=summary, predictors=predictors), attack), "utf-8"
    )
    browser = show(target)
    for section in ("members", "curves", "faces"):
        browser.execute_script(f"document.getElementById('{section}').scrollIntoView()")
        time.sleep(0.3)
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.title == attack


def test_a_comparison_is_a_page(
    show: Callable[..., Any], report_run: Run, report_data: Path, tmp_path: Path
) -> None:
    from report_runs import make_run

    other = make_run(report_data, tmp_path, "two", noise=1.5, seed=5)
    target = tmp_path / "pair.html"
    data = write_comparison_of_runs([report_run, other], report_data, target)
    (comparison,) = data.summary["comparisons"]
    assert comparison["sentence"].startswith("one is better by")
    browser = show(target)
    assert comparison["sentence"] in text(browser, "comparison")
    assert int(text(browser, "faces-count").split()[0]) > 0
    click(browser, "#review-table button[data-open]")
    assert browser.execute_script("return document.getElementById('viewer-predictor').value") == (
        "one"
    )
    click(browser, "#viewer-close")
    click(browser, "#select-reset")
    assert text(browser, "faces-count").startswith("150 faces")
    browser.execute_script("fkd.select({predictor: 'two'})")
    assert text(browser, "faces-count")
    wait(lambda: browser.execute_script("return document.querySelector('#comparison-0 svg')"))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_run_is_shown_on_faces_that_the_first_does_not_predict(
    show: Callable[..., Any], report_run: Run, report_data: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from fkd_kaggle.report.run import render_run_page
    from fkd_kaggle.report.run_data import collect_run_data

    data = collect_run_data(report_run, report_data)
    first, other = np.array(data.predictors["blend"]), data.predictors["deep15"]
    first[0] = np.nan
    target = tmp_path / "pair.html"
    page = render_run_page(replace(data, predictors={"one": first, "two": other}), "pair")
    target.write_text(page, "utf-8")
    browser = show(target)
    assert browser.execute_script("return fkd.point(fkd.predictions.get('one'), 0, 10)") is None
    for face in (0, 1):
        point = f"return fkd.point(fkd.predictions.get('two'), {face}, 10)"
        assert browser.execute_script(point) == pytest.approx(other[face, 10], abs=0.06)

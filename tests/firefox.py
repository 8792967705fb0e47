"""Firefox for tests, driven without geckodriver, which Debian does not package.

Firefox listens for Marionette, its own protocol, on a TCP port: WebDriver's commands as JSON with
their length in front. ``start_firefox`` returns selenium's driver, which sends its commands there.
https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.file_detector import UselessFileDetector

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

_COMMANDS = {
    Command.NEW_SESSION: "WebDriver:NewSession",
    Command.GET: "WebDriver:Navigate",
    Command.FIND_ELEMENT: "WebDriver:FindElement",
    Command.CLICK_ELEMENT: "WebDriver:ElementClick",
    Command.GET_ELEMENT_TEXT: "WebDriver:GetElementText",
    Command.SEND_KEYS_TO_ELEMENT: "WebDriver:ElementSendKeys",
    Command.W3C_EXECUTE_SCRIPT: "WebDriver:ExecuteScript",
    Command.SET_WINDOW_RECT: "WebDriver:SetWindowRect",
    Command.SET_TIMEOUTS: "WebDriver:SetTimeouts",
    Command.SCREENSHOT: "WebDriver:TakeScreenshot",
}

_PREFERENCES: Mapping[str, Any] = {
    "marionette.port": 0,  # any free port, written to the profile
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "remote.prefs.recommended": True,
}


class _Marionette:
    """Sends selenium's commands to Firefox."""

    _ignore_certificates = False

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.client_config = ClientConfig(f"http://localhost:{port}")
        self._process = process
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        self._read()  # the greeting

    def execute(self, command: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response of a WebDriver command."""
        if command == Command.QUIT:
            return self.send("Marionette:Quit", {"flags": ["eForceQuit"]})
        result = self.send(_COMMANDS[command], parameters)
        return result if "value" in result else {"value": result}

    def send(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of one of Marionette's commands."""
        self._number += 1
        given = {key: value for key, value in parameters.items() if key != "sessionId"}
        message = json.dumps([0, self._number, name, given]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, number, error, result = self._read()
        assert number == self._number
        if error:
            raise WebDriverException(f"{name}: {error['message']}")
        return dict(result or {})

    def close(self) -> None:
        """Close the connection and wait for the end of Firefox."""
        self._stream.close()
        self._socket.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> Any:
        """Return the next message."""
        length = b""
        while (byte := self._stream.read(1)) != b":":
            if not byte:
                raise WebDriverException("Firefox has ended")
            length += byte
        return json.loads(self._stream.read(int(length)))


def start_firefox(profile: Path, **preferences: Any) -> Any:
    """Return selenium's driver of a headless Firefox; its ``quit`` ends the browser.

    Parameters
    ----------
    profile
        Folder of the profile, which is created.
    preferences
        Firefox's preferences, with ``__`` for each dot.
    """
    assert FIREFOX
    profile.mkdir()
    given = {name.replace("__", "."): value for name, value in preferences.items()}
    (profile / "user.js").write_text(
        "".join(
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in {**_PREFERENCES, **given}.items()
        )
    )
    # The system access is for the messages of the console.
    flags = ("headless", "marionette", "remote-allow-system-access", "no-remote")
    process = subprocess.Popen(
        [FIREFOX, *(f"--{flag}" for flag in flags), "--profile", str(profile)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        connection = _Marionette(process, _port(profile, process))
    except BaseException:
        process.kill()
        process.wait()
        raise
    driver = webdriver.Remote(connection, options=webdriver.FirefoxOptions())
    driver.file_detector = UselessFileDetector()  # Firefox reads the files of this machine.
    return driver


def console_errors(driver: Any) -> list[str]:
    """Return the warnings and errors of pages from http addresses since the last call."""
    script = (
        "const all = Services.console.getMessageArray(); Services.console.reset();"
        "return all.filter(m => m instanceof Ci.nsIScriptError && m.sourceName.startsWith('http'))"
        ".map(m => m.errorMessage);"
    )
    return [str(message) for message in _browser_script(driver, script)]


def set_page_width(driver: Any, width: int) -> None:
    """Make the page as wide as a phone's, narrower than Firefox's window can be."""
    script = (
        "const { style } = gBrowser.selectedBrowser;"
        "for (const name of ['width', 'min-width', 'max-width'])"
        " style.setProperty(name, arguments[0] + 'px');"
    )
    _browser_script(driver, script, width)
    end = time.monotonic() + 20
    while driver.execute_script("return innerWidth") != width:
        assert time.monotonic() < end, "the page does not become narrow"
        time.sleep(0.05)


def _browser_script(driver: Any, script: str, *arguments: Any) -> Any:
    """Return the result of a script that runs in the browser's window, not in the page."""
    marionette = driver.command_executor
    marionette.send("Marionette:SetContext", {"value": "chrome"})
    try:
        parameters = {"script": script, "args": arguments}
        return marionette.send("WebDriver:ExecuteScript", parameters)["value"]
    finally:
        marionette.send("Marionette:SetContext", {"value": "content"})


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the port on which Firefox listens."""
    path = profile / "MarionetteActivePort"
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.05)
    raise WebDriverException("Firefox does not start")

"""Headless Chromium for tests of pages."""

import asyncio
import itertools
import json
import queue
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from agentgym.apps.playground_app import serve

PATIENCE_S = 60  # until a page shows what is waited for
KEY_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13}

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium: apt-get install chromium")


def address_of(playground):
    """Where a playground is served from now on, until the tests end."""
    addresses = queue.Queue()
    arguments = {"host": "127.0.0.1", "port": 0, "announce": addresses.put}
    threading.Thread(target=serve, args=(playground,), kwargs=arguments, daemon=True).start()
    return addresses.get(timeout=10)


class Browser:
    """Headless Chromium, spoken to by its DevTools protocol."""

    def __init__(self, profile):
        flags = (
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *(
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
            ),
        )
        self._process = subprocess.Popen(["chromium", *flags, "about:blank"], stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if "DevTools listening on" in line:
                port = line.split(":")[-1].split("/")[0]
                break
        self._thread = threading.Thread(target=lambda: [None for _ in self._process.stderr], daemon=True)
        self._thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = json.load(answer)
        self._address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
        self._numbers = itertools.count(1)

    async def __aenter__(self):
        import websockets

        self._socket = await websockets.connect(self._address, max_size=None)
        return self

    async def __aexit__(self, *exception):
        await self._socket.close()
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        self._process.stderr.close()

    async def call(self, method, **parameters):
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                return answer["result"]

    async def value(self, script):
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def until(self, script):
        for _ in range(PATIENCE_S * 20):
            if await self.value(script):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {script}; {await self.value('document.body.innerText')}")

    async def press(self, key, *, shift=False):
        settings = {"key": key, "code": key, "windowsVirtualKeyCode": KEY_CODES[key], "modifiers": 8 if shift else 0}
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, **settings)

    async def click(self, selector):
        await self.value(f"document.querySelector({json.dumps(selector)}).click()")


def shown_by_a_browser(file: Path, profile: Path, *more: str) -> str:
    """The page's elements after its scripts have run; whatever the console says fails the test."""
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom", *more),
    )
    shown = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={profile}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    return shown.stdout

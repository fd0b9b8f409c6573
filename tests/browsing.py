"""The app as a user starts it, on a free port, and a real Chromium to visit it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    "--disable-background-networking",
]
BROWSERS = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")  # as in the Makefile
PATIENT = 180_000  # milliseconds; a loaded machine is slow, not wrong, and the first visit of a cold one waits for torch
expect.set_options(timeout=PATIENT)


@contextmanager
def serve_app(log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Start the app with some environment variables; its address. No traceback may be in its log at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    with log.open("w") as opened:
        variables = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=opened, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
    assert "Traceback" not in log.read_text()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            server.poll()
        else:
            return
    raise AssertionError("the app did not start")


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """The installed browser, headless."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0] if found else None, args=ARGUMENTS)
        yield browser
        browser.close()


def metric(page: Page, label: str) -> Locator:
    """The value of one of the page's big numbers."""
    return page.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")

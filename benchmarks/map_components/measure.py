"""Which component should carry the map of a latent space? Time to the first picture, frames while panning, hover, bytes.

    python benchmarks/map_components/measure.py --bundles FOLDER --out benchmarks/results/map-components.json

FOLDER holds `regl.bundle.js` (regl-scatterplot) and `deck.bundle.js`, made there from the sources beside this file:

    npm install regl-scatterplot@1.16.0 @deck.gl/core@9.4.0 @deck.gl/layers@9.4.0 esbuild@0.28.2
    esbuild regl.js --bundle --minify --format=esm --outfile=regl.bundle.js      # and deck.js
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserType, Page, sync_playwright
from playwright.sync_api import TimeoutError as BrowserTimeout

HERE = Path(__file__).parent
ARGUMENTS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TOOLTIPS = ".tip:not([hidden]), .map-tooltip:not([hidden]), .hoverlayer .hovertext, .deck-tooltip[style*='display: block']"
FRAMES = """() => { window.frames_seen = []; window.watching = true;
  const next = (now) => { if (window.watching) { window.frames_seen.push(now); requestAnimationFrame(next); } };
  requestAnimationFrame(next); }"""


def main() -> None:
    """Measure every candidate at every number of points, one visit each, on a server of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--points", type=int, nargs="+", default=[5_000, 500_000])
    parser.add_argument("--components", nargs="+", default=["plotly", "pydeck", "deck", "regl", "ours"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--port", type=int, default=8699)
    options = parser.parse_args()
    environment = {**os.environ, "MAP_BUNDLES": str(options.bundles)}
    command = [sys.executable, "-m", "streamlit", "run", str(HERE / "app.py"), "--server.headless=true"]
    command += [f"--server.port={options.port}", "--server.fileWatcherType=none"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for_server(options.port)
        with sync_playwright() as playwright:
            chromium = playwright.chromium
            visit(chromium, options.port, "plotly", 5000)  # imports and the page's own script are not what is compared
            rows: list[dict[str, Any]] = []
            text = ""
            for points in options.points:
                for name in options.components:
                    rows.append(visit(chromium, options.port, name, points))
                    text = write_report(rows, options.out)  # one that never comes to an end takes nothing of the others with it
    finally:
        server.terminate()
        server.wait(20)
    print(text)


def write_report(rows: list[dict[str, Any]], out: Path | None) -> str:
    """What was measured so far, as text, and kept in a file where that is wanted."""
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, headless Chromium drawing in software (SwiftShader)",
        "load_average": round(os.getloadavg()[1], 1),  # what else kept the machine busy
        "rows": rows,
    }
    text = json.dumps(report, indent=2)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    return text


def wait_for_server(port: int) -> None:
    """Until the server answers."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server did not start")


def visit(chromium: BrowserType, port: int, component: str, points: int) -> dict[str, Any]:
    """Open the map once, in a browser of its own, and use it."""
    browser = chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    received = [0]
    page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda frame: received.__setitem__(0, received[0] + len(frame)))
    )
    started = time.perf_counter()
    page.goto(f"http://127.0.0.1:{port}/?component={component}&points={points}")
    page.locator(".st-key-place canvas").first.wait_for(timeout=120_000)
    row: dict[str, Any] = {"component": component, "points": points}
    try:
        row["first_picture_s"] = round(until_painted(page) - started, 2)
        time.sleep(2)
        row["bytes_over_websocket"] = sum(received)
        row |= pan(page)
        row["hover_ms"] = hover(page)
    except (TimeoutError, BrowserTimeout) as error:
        row["failed"] = str(error).splitlines()[0]
    browser.close()
    print(json.dumps(row), file=sys.stderr)
    return row


def place_box(page: Page) -> dict[str, float]:
    """Where the map is, in pixels of the page."""
    box = page.locator(".st-key-place").bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": 600.0}


def picture(page: Page) -> np.ndarray:
    """The map as it is on the screen, `(h, w, 3)`."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=place_box(page)))).convert("RGB")).astype(int)  # pyright: ignore[reportArgumentType]


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Where points are drawn: colours, not the greys of page, axes and letters."""
    return pixels.max(-1) - pixels.min(-1) > 60


def until_painted(page: Page) -> float:
    """Moment at which at least a hundredth of the map is coloured."""
    for _ in range(600):
        pixels = coloured(picture(page))
        if pixels.mean() > 0.01:
            return time.perf_counter()
        time.sleep(0.05)
    raise TimeoutError("no points were drawn within the time")


def pan(page: Page) -> dict[str, float]:
    """Milliseconds between frames while the map is dragged for two seconds."""
    box = place_box(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + 300
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(FRAMES)
    for move in range(60):
        page.mouse.move(x + 100 * np.sin(move / 8), y + 60 * np.cos(move / 8))
        time.sleep(0.016)
    page.mouse.move(x, y)
    page.mouse.up()
    stamps = page.evaluate("() => { window.watching = false; return window.frames_seen; }")
    gaps = sorted(np.diff(stamps))
    return {"pan_frame_ms_median": round(statistics.median(gaps), 1), "pan_frame_ms_p95": round(gaps[int(0.95 * len(gaps))], 1)}


def hover(page: Page, tries: int = 7) -> float | None:
    """Median milliseconds from resting on a point to its tooltip; None when none appears."""
    box, found = place_box(page), []
    rows, columns = np.nonzero(coloured(picture(page))[60:540, 100:-160])
    rng = np.random.default_rng(1)
    for chosen in rng.integers(0, len(rows), tries):
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.locator(TOOLTIPS).first.wait_for(state="detached", timeout=10_000) if found else None
        time.sleep(0.3)
        at = time.perf_counter()
        page.mouse.move(box["x"] + 100 + int(columns[chosen]), box["y"] + 60 + int(rows[chosen]), steps=2)
        try:
            page.locator(TOOLTIPS).first.wait_for(state="attached", timeout=4_000)
        except BrowserTimeout:
            continue
        found.append(1000 * (time.perf_counter() - at))
    return round(statistics.median(found), 1) if found else None


if __name__ == "__main__":
    main()

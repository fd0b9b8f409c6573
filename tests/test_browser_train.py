"""Training from the browser: pictures are uploaded, seen, trained on in a real run that outlives the page, and it finishes."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import PATIENT, open_chromium, serve_app
from playwright.sync_api import Browser, BrowserContext, Page, expect

from medfuncta_core.checkpoint import load_checkpoint
from medfuncta_core.runs import list_runs, read_run, read_status, stop
from medfuncta_core.runs.folder import RunFolder

pytestmark = pytest.mark.browser

KNOBS = {"Layers K": 3, "Width L": 8, "Outer steps": 60}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    names = ("CHECKPOINTS", "GALLERY", "RUNS", "DATA", "CACHE")
    with serve_app(folder / "log.txt", {f"MEDFUNCTA_{name}": str(folder / name.lower()) for name in names}) as served:
        yield served
    for run in list_runs(folder / "runs"):  # nothing goes on after the tests
        if run.status.live or run.queue_position:
            stop(folder / "runs", run.id)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(2 * PATIENT)
    yield context
    context.close()


def pictures(shared_data: Path) -> bytes:
    """Three dozen real X-rays where they are there, else blobs of the same size; two classes."""
    file = shared_data / "pneumoniamnist_28.npz"
    counts = {"train": 24, "val": 8, "test": 4}
    arrays: dict[str, np.ndarray] = {}
    for number, (split, count) in enumerate(counts.items()):
        if file.is_file():
            with np.load(file, allow_pickle=False) as opened:
                arrays[f"{split}_images"] = opened[f"{split}_images"][:count, ::2, ::2]
        else:
            centres = np.random.default_rng(number).uniform(3, 11, (count, 2))
            rows, columns = np.mgrid[0:14, 0:14]
            distances = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in centres]
            arrays[f"{split}_images"] = np.stack([255 * np.exp(-d / 12) for d in distances]).astype(np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def set_number(page: Page, label: str, value: int) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(str(value))
    field.press("Enter")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def test_training_is_launched_from_an_upload_outlives_its_page_and_finishes(
    context: BrowserContext, address: str, folder: Path, shared_data: Path
) -> None:
    page = context.new_page()
    page.goto(f"{address}/train")
    page.get_by_role("radio", name="Upload").click()
    page.locator("input[type=file]").set_input_files(
        [{"name": "xrays.npz", "mimeType": "application/octet-stream", "buffer": pictures(shared_data)}]
    )
    expect(page.get_by_text("14 × 14 image")).to_be_visible()
    expect(page.get_by_alt_text(re.compile("Training signal"))).to_have_count(12)
    for label, value in KNOBS.items():
        set_number(page, label, value)
    page.get_by_role("button", name="Start training").click()
    card = page.locator("[class*=st-key-queue-]")
    expect(card.get_by_text(re.compile("· (running|finished)"))).to_be_visible()  # it may be over before the page looks again
    expect(card.get_by_text(re.compile(r"Step [\d,]+ of 60"))).to_be_visible()
    expect(card.get_by_text(re.compile("· finished"))).to_be_visible()
    expect(card.get_by_text(re.compile(r"Step 60 of 60 · best validation [\d.]+ dB"))).to_be_visible()
    (run,) = list_runs(folder / "runs")
    assert run.status.state == "finished"
    assert load_checkpoint(run.path / "checkpoint" / "best").config.field.width == 8

    set_number(page, "Outer steps", 100_000)
    page.get_by_role("button", name="Start training").click()
    expect(card.get_by_text(re.compile("· running"))).to_be_visible()
    page.close()  # the run goes on
    name = f"{run.id}-2"
    before = read_run(folder / "runs", name).status
    assert before.process is not None
    end = time.monotonic() + 2 * PATIENT / 1000
    while (now := read_status(RunFolder(folder / "runs" / name))).step <= before.step + 1 and time.monotonic() < end:
        time.sleep(0.2)
    assert now.step > before.step + 1
    assert now.process == before.process
    again = context.new_page()
    again.goto(f"{address}/train")
    expect(again.get_by_text(re.compile(rf"{name} · running"))).to_be_visible()
    stop(folder / "runs", name)
    expect(again.get_by_text("Nothing trains and nothing waits", exact=False)).to_be_visible()
    assert read_run(folder / "runs", name).status.state == "stopped"


def test_page_needs_no_sideways_scrolling_on_a_phone(chromium: Browser, address: str, folder: Path) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(2 * PATIENT)
    page = context.new_page()
    (kept,) = (folder / "data").glob("xrays-*.npz")
    page.goto(f"{address}/train?data={kept}")
    page.get_by_role("button", name="Start training").wait_for()
    page.get_by_alt_text(re.compile("Training signal")).first.wait_for()
    for element in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")
    context.close()

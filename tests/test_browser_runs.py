"""A run's whole life in a real Chromium: launched, watched, left alone, found again, stopped, resumed, promoted, used to fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from app_material import picture_png
from browsing import PATIENT, metric, open_chromium, serve_app
from playwright.sync_api import Browser, BrowserContext, Page, expect

from medfuncta_core.errors import MedFunctaError
from medfuncta_core.runs import launch, list_runs, read_run, stop
from medfuncta_core.runs.request import RunRequest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "pneumoniamnist_28.npz"
SETTINGS = ("field.depth=4", "field.width=16", "field.latent_dim=16", "meta.batch_size=2", "meta.inner_steps=2")
STEPS = 100_000  # more than the test has time for
VERY_PATIENT = 3 * PATIENT  # two processes start, and both import torch

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real run in the queue, on real X-rays where they are there; nothing trains on when the test is over."""
    folder = tmp_path_factory.mktemp("studio")
    more = ("meta.validate_every=40", "meta.validate_signals=4", "fit.steps=4")
    launch(folder / "runs", RunRequest(preset="image-64-small", data=str(pictures(folder)), shape=(28, 28), name="studio",
                                       device="cpu", settings=(*SETTINGS, *more, f"meta.steps={STEPS}")))  # fmt: skip
    yield folder
    for run in list_runs(folder / "runs"):
        with suppress(MedFunctaError):
            stop(folder / "runs", run.id)


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    environment = {"MEDFUNCTA_RUNS": str(root / "runs"), "MEDFUNCTA_CHECKPOINTS": str(root / "checkpoints")}
    with serve_app(root / "log.txt", environment | {"MEDFUNCTA_GALLERY": str(root / "gallery")}) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def pictures(folder: Path) -> Path:
    """Real X-rays, or smooth blobs of the same shape."""
    if SHARED.is_file():
        return SHARED
    rng, arrays = np.random.default_rng(0), {}
    rows, columns = np.mgrid[0:28, 0:28] / 28
    for split, count in (("train", 40), ("val", 8), ("test", 8)):
        centres = rng.uniform(0.2, 0.8, (count, 2, 1, 1))
        arrays[f"{split}_images"] = np.exp(-((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 0.06)
        arrays[f"{split}_labels"] = np.zeros((count, 1), np.uint8)
    np.savez(folder / "blobs.npz", **arrays)
    return folder / "blobs.npz"


def open_page(chromium: Browser, address: str) -> tuple[BrowserContext, Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(VERY_PATIENT)
    page = context.new_page()
    page.goto(address)
    return context, page


def wait_for_state(page: Page, state: str) -> None:
    expect(page.locator(".st-key-run_head")).to_contain_text(state, timeout=VERY_PATIENT)


def step_of(page: Page) -> int:
    text = page.get_by_text(re.compile(r"^Step [\d,]+ of 100,000")).first.inner_text()
    return int(text.split()[1].replace(",", ""))


def test_run_lives_through_everything_a_visitor_does(chromium: Browser, address: str, root: Path) -> None:
    context, page = open_page(chromium, f"{address}/runs")
    wait_for_state(page, "running")
    assert "run=studio" in page.url
    curve = page.locator(".st-key-live_psnr path.line").last
    curve.wait_for()
    page.locator(".st-key-samples").get_by_alt_text(re.compile("^Reconstruction")).first.wait_for()
    strip = page.locator(".st-key-film").get_by_alt_text(re.compile("^Reconstruction"))
    expect(strip.nth(2)).to_be_visible(timeout=VERY_PATIENT)  # before training, and two validations: it grows
    plot = page.locator(".st-key-live_psnr svg").element_handle()
    drawn, seen = curve.get_attribute("d"), step_of(page)
    expect(page.get_by_text(f"Step {seen:,} of")).to_have_count(0, timeout=VERY_PATIENT)  # it goes on
    expect(curve).not_to_have_attribute("d", drawn or "")
    assert plot.evaluate("node => node.isConnected")  # drawn into, not anew: nothing flickers
    slider = page.get_by_role("slider", name="Pictures after step")
    slider.focus()
    slider.press("Home")
    expect(page.get_by_text("before training").first).to_be_visible()

    context.close()  # the laptop is closed
    left_at = read_run(root / "runs", "studio").status.step
    context, page = open_page(chromium, f"{address}/runs?run=studio")
    wait_for_state(page, "running")
    assert step_of(page) > left_at

    page.locator(".st-key-stop_run").get_by_role("button").click()
    wait_for_state(page, "stopped")
    stopped_at = read_run(root / "runs", "studio").status.step
    expect(page.get_by_text(f"Step {stopped_at:,} of").first).to_be_visible(timeout=VERY_PATIENT)
    page.locator(".st-key-resume_run").get_by_role("button").click()
    wait_for_state(page, "running")
    expect(page.get_by_text(f"Step {stopped_at:,} of")).to_have_count(0, timeout=VERY_PATIENT)
    assert step_of(page) > stopped_at
    page.locator(".st-key-stop_run").get_by_role("button").click()
    wait_for_state(page, "stopped")
    _promote_and_fit(page)
    context.close()


def _promote_and_fit(page: Page) -> None:
    page.get_by_role("button", name="Promote…").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("my-xrays")
    page.get_by_role("textbox", name="Licence of the weights").fill("CC BY 4.0")
    page.locator(".st-key-promote_go").get_by_role("button").click()
    page.get_by_text("Open my-xrays in Fit").click()
    page.locator("input[type=file]").wait_for(state="attached")
    expect(page.get_by_role("combobox", name=re.compile("Checkpoint"))).to_have_value("my-xrays")
    page.locator("input[type=file]").set_input_files(
        [{"name": "scan.png", "mimeType": "application/octet-stream", "buffer": picture_png()}]
    )
    page.get_by_role("button", name="Latent (.npy)").wait_for()
    assert float(metric(page, "PSNR").first.inner_text().split()[0]) > 5


def test_runs_are_picked_from_the_list_by_keyboard_and_work_on_a_phone(chromium: Browser, address: str, root: Path) -> None:
    launch(root / "runs", RunRequest(preset="image-64-small", data="nowhere.npz", name="lost"))
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(VERY_PATIENT)
    page = context.new_page()
    page.goto(f"{address}/runs?run=studio")
    lost = page.locator(".st-key-run_rows").get_by_role("button").filter(has_text="lost")
    expect(lost).to_contain_text("failed", timeout=VERY_PATIENT)  # its data cannot be opened
    lost.focus()
    lost.press("Enter")
    wait_for_state(page, "failed")
    expect(page.get_by_text("nowhere.npz").first).to_be_visible()
    assert "run=lost" in page.url
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()

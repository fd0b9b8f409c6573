"""What a visitor does, in a real Chromium: upload, watch, replay, decode, download, err, share the server, use a phone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_material import beats_csv, copy_checkpoint, make_app_material, picture_png
from browsing import PATIENT, metric, open_chromium, serve_app
from playwright.sync_api import Browser, BrowserContext, Page, expect

from medfuncta_core.config import FitConfig

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, started as a user starts it, on a free port."""
    folder = tmp_path_factory.mktemp("app")
    environment = make_app_material(folder)
    tiny = folder / "checkpoints" / "tiny-picture"
    copy_checkpoint(tiny, tiny.with_name("tiny-picture-endless"), FitConfig(steps=100_000, inner_lr=1e-2))
    with serve_app(folder / "log.txt", environment) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENT)
    yield context
    context.close()


def visit(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.locator("input[type=file]").wait_for(state="attached")
    return page


def drop(page: Page, name: str, content: bytes) -> None:
    page.locator("input[type=file]").set_input_files([{"name": name, "mimeType": "application/octet-stream", "buffer": content}])


def wait_until_fitted(page: Page) -> None:
    page.get_by_role("button", name="Latent (.npy)").wait_for()


def psnr(page: Page) -> float:
    return float(metric(page, "PSNR").first.inner_text().split()[0])


def chest_xray() -> bytes:
    """The real X-ray where it is there, else a picture of the test's own."""
    file = ROOT.parent / "shared" / "data" / "raw" / "chest_xray_1024.png"
    return file.read_bytes() if file.is_file() else picture_png()


def test_fit_is_drawn_while_it_runs_and_can_be_stopped(context: BrowserContext, address: str) -> None:
    page = visit(context, f"{address}/?checkpoint=tiny-picture-endless")  # far more steps than the test has time for
    page.locator(".js-plotly-plot").wait_for(state="attached")  # plotting code is loaded before anything is chosen
    drop(page, "chest.png", chest_xray())
    progress = page.get_by_text(re.compile(r"Fitting: step \d+ of 100000"))
    progress.wait_for()
    page.locator(".st-key-psnr_curve path.line:visible").first.wait_for()
    page.get_by_alt_text("Reconstruction", exact=True).wait_for()
    early = psnr(page)
    assert progress.is_visible()
    words = progress.inner_text()
    expect(progress).not_to_have_text(words)  # it goes on
    page.locator(".st-key-stop_fit").get_by_role("button").click()  # Streamlit has a Stop of its own
    wait_until_fitted(page)
    expect(progress).to_have_count(0)
    assert psnr(page) >= early


def test_upload_is_fitted_replayed_decoded_and_downloaded(context: BrowserContext, address: str) -> None:
    page = visit(context, address)
    drop(page, "chest.png", chest_xray())
    wait_until_fitted(page)
    final = psnr(page)
    assert page.get_by_text("Resized from").is_visible()  # what was done to the file

    slider = page.get_by_role("slider", name="Step shown")
    slider.focus()
    slider.press("Home")
    expect(page.get_by_text("step 0 of 20")).to_be_visible()
    assert psnr(page) < final

    resolution = page.get_by_role("slider", name="Resolution")
    resolution.focus()
    resolution.press("End")
    expect(page.get_by_text(re.compile(r"144 × 112 reconstruction"))).to_be_visible()
    _move_divider(page)

    with page.expect_download() as download:
        page.get_by_role("button", name="Latent (.npy)").click()
    latent = np.load(io.BytesIO(Path(download.value.path()).read_bytes()), allow_pickle=False)
    assert latent.shape == (16,)
    assert np.isfinite(latent).all()
    assert download.value.suggested_filename == "chest-latent.npy"
    with page.expect_download() as download:
        page.get_by_role("button", name="Reconstruction (.png)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def _move_divider(page: Page) -> None:
    """The before/after slider: by keyboard and by dragging."""
    divider = page.get_by_role("slider", name="Before and after")
    divider.focus()
    divider.press("End")
    assert divider.input_value() == "100"
    box = divider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20, steps=4)
    page.mouse.up()
    assert int(divider.input_value()) == pytest.approx(25, abs=3)


def test_gallery_pick_is_fitted_and_can_be_linked(context: BrowserContext, address: str) -> None:
    page = visit(context, address)
    tile = page.get_by_role("button", name=re.compile("left blob")).first
    tile.locator("img").wait_for()  # decoded, not shipped as a picture
    tile.click()
    wait_until_fitted(page)
    expect(page.get_by_role("button", name=re.compile("left blob")).first).to_have_attribute("aria-pressed", "true")
    assert "checkpoint=tiny-picture" in page.url
    assert "item=tiny-picture%2F0" in page.url
    colleague = visit(context, page.url)
    wait_until_fitted(colleague)
    assert metric(colleague, "PSNR").first.inner_text() == metric(page, "PSNR").first.inner_text()


@pytest.mark.parametrize(("name", "content"), [("broken.png", picture_png()[:200]), ("words.nii.gz", b"no volume at all")])
def test_broken_file_shows_one_line_and_no_traceback(context: BrowserContext, address: str, name: str, content: bytes) -> None:
    page = visit(context, address)
    drop(page, name, content)
    error = page.get_by_test_id("stAlertContentError").locator("p")
    error.wait_for()
    assert name in error.inner_text()
    assert "\n" not in error.inner_text().strip()
    assert "Traceback" not in page.inner_text("body")
    assert page.get_by_text("Details").is_visible()


def test_two_visitors_at_once_keep_their_own_signals(chromium: Browser, address: str) -> None:
    contexts = [chromium.new_context(), chromium.new_context()]
    pages = [visit(context, address) for context in contexts]
    for page in pages:
        page.set_default_timeout(PATIENT)
    for page, name, bright in zip(pages, ("mine.png", "yours.png"), (True, False), strict=True):
        drop(page, name, picture_png(bright))
    for page in pages:
        wait_until_fitted(page)
    assert [page.get_by_text("mine.png").count() > 0 for page in pages] == [True, False]
    assert [page.get_by_text("yours.png").count() > 0 for page in pages] == [False, True]
    light, dark = (page.get_by_alt_text("Input", exact=True).get_attribute("src") for page in pages)
    assert light != dark
    for context in contexts:
        context.close()


def test_phone_has_no_sideways_scrolling(chromium: Browser, address: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    context.set_default_timeout(PATIENT)
    page = visit(context, address)
    drop(page, "beats.csv", beats_csv())
    wait_until_fitted(page)
    for element in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")
    assert page.get_by_text("PSNR (dB)").is_visible()
    context.close()

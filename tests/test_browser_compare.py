"""The Compare page in a real Chromium: a dropped file, fits that follow each other, curves, pictures, table, phone width."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_material import make_app_material, picture_png
from browsing import PATIENT, open_chromium, serve_app
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    with serve_app(folder / "log.txt", make_app_material(folder, ("tiny-picture", "tiny-ecg"))) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def drop_picture(chromium: Browser, address: str, width: int) -> Page:
    context = chromium.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(2 * PATIENT)
    page = context.new_page()
    page.goto(f"{address}/compare?checkpoint=tiny-picture")
    page.get_by_text("Drop your own file").wait_for(timeout=4 * PATIENT)
    page.locator("input[type=file]").set_input_files([{"name": "scan.png", "mimeType": "image/png", "buffer": picture_png()}])
    return page


def test_dropped_file_is_fitted_both_ways_beside_the_baselines(chromium: Browser, address: str) -> None:
    page = drop_picture(chromium, address, 1280)
    expect(page.get_by_text(re.compile("Fit [12] of 2"))).to_be_visible()
    expect(page.locator(".st-key-contest_bar").get_by_text("Step shown")).to_be_visible(timeout=4 * PATIENT)
    rows = page.locator("[class*=st-key-contest_panes] figure")
    expect(rows).to_have_count(12)  # input, reconstruction and error of two fits and two baselines
    titles = page.locator("[class*=st-key-contest_panes] figcaption .title").all_inner_texts()
    assert titles[1::3] == ["Gradient descent", "Gauss-Newton", "DCT", "Coarser grid"]
    curves = page.locator(".st-key-contest_curves svg")
    expect(curves).to_have_attribute("aria-label", re.compile(r"PSNR over step: Gradient descent [\d.]+ dB; Gauss-Newton"))
    expect(curves.locator("path.line")).to_have_count(4)
    page.get_by_role("radio", name="Computing time").click()
    expect(curves).to_have_attribute("aria-label", re.compile("PSNR over seconds"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (.csv)").click()
    measured = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["name"] for row in measured] == titles[1::3]
    caption = page.locator("[class*=st-key-contest_panes] figcaption .caption").nth(4).inner_text()
    assert f"{float(measured[1]['psnr']):.1f} dB" in caption


def test_page_needs_no_sideways_scrolling_on_a_phone(chromium: Browser, address: str) -> None:
    page = drop_picture(chromium, address, 390)
    page.locator(".st-key-contest_bar").get_by_text("Step shown").wait_for(timeout=4 * PATIENT)
    for element in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")


def test_dropped_file_comes_along_to_other_pages_until_it_is_taken_away(chromium: Browser, address: str) -> None:
    page = drop_picture(chromium, address, 1280)
    page.locator(".st-key-contest_bar").get_by_text("Step shown").wait_for(timeout=4 * PATIENT)
    links = page.get_by_test_id("stSidebarNav")
    links.get_by_role("link", name="Latent space").click()
    expect(page.get_by_role("heading", name="Latent space")).to_be_visible()
    links.get_by_role("link", name="Fit", exact=True).click()
    expect(page.locator(".st-key-carried").get_by_text("scan.png")).to_be_visible()
    expect(page.locator(".st-key-bar").get_by_text("Step shown")).to_be_visible(timeout=4 * PATIENT)
    links.get_by_role("link", name="Volumes").click()  # a picture is not a volume: it stays behind
    expect(page.get_by_role("heading", name="Volumes")).to_be_visible()
    expect(page.locator(".st-key-carried")).to_have_count(0)

    page = drop_picture(chromium, address, 1280)
    page.locator(".st-key-contest_bar").get_by_text("Step shown").wait_for(timeout=4 * PATIENT)
    links = page.get_by_test_id("stSidebarNav")
    links.get_by_role("link", name="Fit", exact=True).click()
    page.get_by_role("button", name="Take the file away").click()
    expect(page.get_by_text("Drop a file or pick a signal")).to_be_visible()
    expect(page.locator(".st-key-carried")).to_have_count(0)
    page.locator("input[type=file]").set_input_files([{"name": "new.png", "mimeType": "image/png", "buffer": picture_png()}])
    expect(page.locator(".st-key-bar").get_by_text("Step shown")).to_be_visible(timeout=4 * PATIENT)
    page.get_by_role("button", name="Remove new.png").click()  # taken out of the drop zone of this very page
    expect(page.get_by_text("Drop a file or pick a signal")).to_be_visible()

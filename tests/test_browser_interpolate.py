"""Interpolate in a real Chromium: a morph plays, its slider moves it, exports open, a file and a picked signal become ends."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from app_material import make_app_material, picture_png
from browsing import PATIENT, open_chromium, serve_app
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from medfuncta_core.checkpoint import load_gallery

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serve_app(folder / "log.txt", make_app_material(folder, ["tiny-picture"])) as served:
        yield f"{served}/interpolate?checkpoint=tiny-picture"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENT)
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENT)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="▶ Play").wait_for(timeout=3 * PATIENT)  # the first page of a new server
    yield page
    context.close()


def download(page: Page, button: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(started.value.path()).read_bytes()


def test_morph_plays_and_its_slider_moves_it(page: Page) -> None:
    caption = page.get_by_text(re.compile(r"\d+% of the way from A to B"))
    morph = page.locator("figure", has_text="Through the latents").locator("img")
    expect(caption).to_contain_text("50% of the way")
    middle = morph.get_attribute("src")
    page.get_by_role("button", name="▶ Play").click()
    expect(caption).not_to_contain_text("50% of the way")
    page.get_by_role("button", name="Pause").click()
    slider = page.get_by_role("slider", name="Place on the path")
    slider.focus()
    slider.press("Home")
    expect(caption).to_contain_text("0% of the way from A to B · to A: the same")
    first = morph.get_attribute("src")
    slider.press("End")
    expect(caption).to_contain_text("100% of the way")
    assert len({first, middle, morph.get_attribute("src")}) == 3
    expect(page.locator(".st-key-path_psnr .scatterlayer .js-line")).to_have_count(4)


def test_exports_are_downloaded_and_open(page: Page, folder: Path) -> None:
    with Image.open(io.BytesIO(download(page, "GIF"))) as film:
        assert film.n_frames == 48  # 25 there, 23 back  # pyright: ignore[reportAttributeAccessIssue]
        assert film.height >= 256
    file = folder / "film.mp4"
    file.write_bytes(download(page, "MP4"))
    assert imageio_ffmpeg.count_frames_and_secs(str(file))[0] == 48
    gallery = load_gallery(folder / "gallery" / "tiny-picture.safetensors")
    with np.load(io.BytesIO(download(page, "Latents and values (.npz)")), allow_pickle=False) as opened:
        np.testing.assert_array_equal(opened["latents"][[0, -1]], gallery.latents[[0, 1]])
        assert opened["frames"].shape == opened["fade"].shape == (25, 18, 14, 1)
    assert len(download(page, "Curves (.csv)").splitlines()) == 26
    with Image.open(io.BytesIO(download(page, "Filmstrip (.png)"))) as strip:
        assert strip.width > 3 * strip.height


def test_picked_signal_and_dropped_file_become_ends(page: Page) -> None:
    card = page.locator(".st-key-end-B")
    expect(card).to_contain_text("test/1")
    card.get_by_role("button", name="Change").click()
    page.get_by_role("button", name=re.compile("blob")).nth(4).click()
    expect(card).to_contain_text("test/4")
    page.wait_for_url(re.compile(r"b=tiny-picture%2F4"))
    latents = page.locator("figure", has_text="Through the latents").locator("img")
    before = latents.get_attribute("src")
    drop_zone = page.get_by_text("Your file", exact=True)
    expect(drop_zone).to_have_count(0)  # still open, the next click would close it
    card.get_by_role("button", name="Change").click()
    drop_zone.click()
    own = {"name": "own.png", "mimeType": "image/png", "buffer": picture_png()}
    page.locator("input[type=file]").set_input_files([own])  # type: ignore[list-item]
    expect(card).to_contain_text("own.png")
    expect(latents).not_to_have_attribute("src", before or "")
    page.wait_for_url(lambda url: "&b=" not in url)
    assert page.get_by_test_id("stAlertContentError").count() == 0


def test_phone_has_no_sideways_scrolling(chromium: Browser, address: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    context.set_default_timeout(PATIENT)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="GIF").wait_for()
    for element in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")
    context.close()

"""The Latent space page in a real Chromium: hover, lasso, click, neighbours, a dropped file, a phone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_material import picture_png
from browsing import PATIENT, metric, open_chromium, serve_app
from map_material import SET, make_map_material
from playwright.sync_api import Browser, Page, expect

from medfuncta_core.figures import frame_map
from medfuncta_core.mednf import EmbedRequest, MednfSet, map_file, open_set, read_map

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serve_app(folder / "log.txt", make_map_material(folder)) as served:
        yield f"{served}/latent_space"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def latents(folder: Path, address: str) -> MednfSet:
    return open_set(folder / "sets" / SET)


def visit(chromium: Browser, address: str, **options: object) -> Page:
    context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))  # type: ignore[arg-type]
    context.set_default_timeout(PATIENT)
    page = context.new_page()
    page.goto(address)
    page.locator("canvas[data-painted]").wait_for()
    return page


def pixels_of(page: Page, latents: MednfSet) -> np.ndarray:
    """Where every point is drawn on the page while the whole map is in view."""
    made = read_map(map_file(latents, EmbedRequest()), latents)
    box = page.locator("canvas").bounding_box()
    assert box is not None
    placed = frame_map(made.coords).place(made.coords)
    side = 0.92 * (np.array([box["width"], box["height"]]) / np.abs(placed).max(axis=0)).min()
    return placed * [side / 2, -side / 2] + [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]


def alone(at: np.ndarray) -> int:
    """The point farthest from its nearest."""
    distances = np.linalg.norm(at[:, None] - at, axis=2) + np.where(np.eye(len(at)), 1e9, 0)
    return int(distances.min(axis=1).argmax())


def test_hover_click_and_lasso_show_what_lies_there(chromium: Browser, address: str, latents: MednfSet) -> None:
    page = visit(chromium, address)
    at = pixels_of(page, latents)
    row = alone(at)
    page.mouse.move(*at[row])
    tip = page.locator(".tip:not(.waiting)")
    tip.locator("img").wait_for()
    expect(tip).to_have_attribute("data-row", str(row))
    expect(tip).to_contain_text(str(latents.column("id")[row]))

    page.mouse.click(*at[row])
    expect(metric(page, "Class by the 10 nearest")).to_be_visible()
    page.get_by_alt_text("Decoded", exact=True).wait_for()
    expect(page.locator(".mark.opened")).to_have_count(1)
    expect(page.locator(".mark.neighbour")).to_have_count(10)
    expect(page).to_have_url(re.compile(f"set={SET}.*row={row}"))
    for name in ("The 10 nearest", *latents.class_names):
        strip = page.get_by_role("group", name=f"Nearest: {name}")
        expect(strip.get_by_role("button")).to_have_count(10)
        expect(strip.locator("img[src^=data]")).to_have_count(10)

    page.get_by_role("button", name="Lasso").click()
    left, right = at.min(axis=0) - 8, at.max(axis=0) + 8
    middle = float(np.median(at[:, 0]))
    inside = int((at[:, 0] < middle).sum())
    page.mouse.move(*left)
    page.mouse.down()
    for corner in ((middle, left[1]), (middle, right[1]), (left[0], right[1]), (left[0], left[1] + 1)):
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    expect(page.get_by_text(f"{inside:,} signals selected")).to_be_visible()
    expect(page.get_by_role("group", name="Contact sheet").locator("img[src^=data]")).to_have_count(inside)
    with page.expect_download() as download:
        page.get_by_role("button", name="Latents (.npz)").click()
    with np.load(io.BytesIO(Path(download.value.path()).read_bytes()), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["latents"], latents.latents(np.flatnonzero(at[:, 0] < middle)))
    page.context.close()


def test_dropped_file_is_placed_with_its_neighbours(chromium: Browser, address: str) -> None:
    page = visit(chromium, address, color_scheme="dark")
    page.get_by_role("radio", name="Your file").click()
    page.locator("input[type=file]").set_input_files([{"name": "mine.png", "mimeType": "image/png", "buffer": picture_png()}])
    expect(metric(page, "Class by the 10 nearest")).to_be_visible()
    expect(page.locator(".mark.dropped")).to_have_count(1)
    expect(page.locator(".mark.dropped text")).to_have_text("mine.png")
    expect(page.locator(".mark.neighbour")).to_have_count(10)
    page.get_by_role("group", name="Nearest: The 10 nearest").get_by_role("button").first.click()
    expect(page.locator(".mark.opened")).to_have_count(1)
    expect(page.locator(".mark.dropped")).to_have_count(1)  # still there, to compare with
    page.context.close()


def test_phone_has_no_sideways_scrolling(chromium: Browser, address: str) -> None:
    page = visit(chromium, f"{address}?set={SET}&row=5", viewport={"width": 390, "height": 844}, has_touch=True)
    expect(metric(page, "Class by the 10 nearest")).to_be_visible()
    for element in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth")
    page.context.close()

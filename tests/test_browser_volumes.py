"""Volumes in a real Chromium: drop a scan, move the crosshair, tilt a plane, take a NIfTI file that lies over it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from app_material import make_app_material
from browsing import PATIENT, open_chromium, serve_app
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
from volume_material import computed_tomogram, hippocampus, real_series

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENT)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with a small network of volumes."""
    folder = tmp_path_factory.mktemp("app")
    with serve_app(folder / "log.txt", make_app_material(folder, ["tiny-volume"])) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """The Volumes page, opened by its link; nothing may be fetched from anywhere else."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(PATIENT)
    page, foreign = context.new_page(), []
    page.on("request", lambda request: foreign.append(request.url) if request.url.startswith("http") else None)
    page.goto(f"{address}/volumes")
    page.locator("input[type=file]").first.wait_for(state="attached", timeout=3 * PATIENT)
    yield page
    context.close()
    assert [url for url in foreign if not url.startswith(address)] == []


def drop(page: Page, name: str, content: bytes) -> None:
    file: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.locator("input[type=file]").first.set_input_files([file])
    page.get_by_role("button", name="Latent (.npy)").wait_for()
    page.get_by_alt_text(re.compile("^Reconstruction")).first.wait_for()


def choose(page: Page, key: str, words: str) -> None:
    page.locator(f".st-key-{key}").get_by_text(words, exact=True).click()


def picture(page: Page, name: str) -> Locator:
    return page.get_by_alt_text(re.compile(f"^{name}")).first


def place_of(page: Page, plane: str) -> float:
    """Where the slider of a plane stands."""
    return float(page.get_by_role("slider", name=plane).input_value())


def click_at(picture: Locator, x: float, y: float) -> None:
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": x * box["width"], "y": y * box["height"]})


def test_crosshair_oblique_plane_and_a_file_that_lies_over_the_input(page: Page, tmp_path: Path) -> None:
    (tmp_path / "in.nii.gz").write_bytes(hippocampus(tmp_path))
    drop(page, "hippocampus_190.nii.gz", (tmp_path / "in.nii.gz").read_bytes())
    before = place_of(page, "Sagittal"), picture(page, "Input Sagittal").get_attribute("src")
    click_at(picture(page, "Input Axial"), 0.1, 0.5)
    expect(picture(page, "Input Sagittal")).not_to_have_attribute("src", before[1] or "")
    assert place_of(page, "Sagittal") != before[0]
    axial = place_of(page, "Axial")
    page.keyboard.press("PageUp")  # the slice that was clicked has the focus
    expect(page.get_by_role("slider", name="Axial")).to_have_value(f"{axial + 1:g}")

    page.mouse.wheel(0, 100)
    expect(page.get_by_role("slider", name="Axial")).to_have_value(f"{axial:g}")

    choose(page, "volume_view", "Oblique")
    picture(page, "Reconstruction Oblique").wait_for()
    tilted = picture(page, "Reconstruction Oblique").get_attribute("src")
    turn = page.get_by_role("slider", name="Turn")
    turn.focus()
    turn.press("ArrowRight")
    expect(picture(page, "Reconstruction Oblique")).not_to_have_attribute("src", tilted or "")

    choose(page, "volume_view", "Download")
    page.get_by_role("combobox", name=re.compile("Grid")).click()
    page.get_by_role("option", name=re.compile("The file's own voxels")).click()
    page.get_by_role("button", name="Decode").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(r"NIfTI, \d+")).click()
    (tmp_path / "out.nii.gz").write_bytes(Path(download.value.path()).read_bytes())
    given, found = (nibabel.load(tmp_path / name) for name in ("in.nii.gz", "out.nii.gz"))
    assert isinstance(given, nibabel.Nifti1Image)
    assert isinstance(found, nibabel.Nifti1Image)
    assert given.shape == found.shape
    corners = np.array(np.meshgrid(*[[0, points - 1] for points in given.shape])).reshape(3, -1)
    moved = [(np.asarray(image.affine)[:3, :3] @ corners).T + np.asarray(image.affine)[:3, 3] for image in (given, found)]
    assert np.abs(moved[0] - moved[1]).max() < 0.1 * min(given.header.get_zooms())
    assert np.ptp(found.get_fdata()) > 0


def test_tomogram_takes_windows_and_a_region_is_fitted(page: Page, tmp_path: Path) -> None:
    drop(page, "example_ct.nii.gz", computed_tomogram(tmp_path))
    whole = picture(page, "Input Axial").get_attribute("src")
    page.get_by_role("button", name="Window").click()
    page.get_by_text("Bone", exact=True).click()
    expect(picture(page, "Input Axial")).not_to_have_attribute("src", whole or "")
    page.keyboard.press("Escape")

    choose(page, "volume_dragging", "Draws a region")
    target = picture(page, "Input Axial")
    page.locator(".boxing").wait_for()
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Fit this region as its own field").click()
    page.get_by_role("button", name="Back to the whole volume").wait_for()
    page.get_by_role("button", name="Latent (.npy)").wait_for()
    expect(page.get_by_text("Cut to the region of voxels")).to_be_visible()


def test_real_series_has_letters_and_is_drawn_in_space(page: Page) -> None:
    drop(page, "series.zip", real_series())
    letters = {letter.inner_text() for letter in page.locator(".letter").all()}
    assert {"R", "L", "A", "P", "S", "I"} <= letters
    choose(page, "volume_view", "3D")
    page.frame_locator("iframe[title*=niivue]").locator("canvas").first.wait_for()

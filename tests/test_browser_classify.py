"""The Classify page in a real Chromium: choose a set, run k-NN and the MLP, read table and confusion matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_material import make_app_material, make_set
from browsing import PATIENT, metric, open_chromium, serve_app
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with a set of tiny pictures, on a free port."""
    folder = tmp_path_factory.mktemp("app")
    environment = make_app_material(folder) | make_set(folder, "tiny-picture") | {"MEDFUNCTA_CACHE": str(folder / "cache")}
    with serve_app(folder / "log.txt", environment) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def visit(chromium: Browser, address: str, **look: object) -> Page:
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})  # pyright: ignore[reportArgumentType]
    context.set_default_timeout(PATIENT)
    page = context.new_page()
    page.goto(address)
    page.locator(".st-key-classify, .st-key-cancel_classify").first.wait_for(timeout=4 * PATIENT)  # a server's first page
    return page


def downloaded(page: Page, name: str) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))


def test_set_is_classified_and_its_numbers_are_taken_home(chromium: Browser, address: str) -> None:
    page = visit(chromium, f"{address}/classify?set=tiny-picture-set")
    for unwanted in ("k-NN, k = 1", "Logistic regression"):
        page.get_by_role("button", name=unwanted).click()
    expect(page.get_by_text("2 to classify.")).to_be_visible()
    page.locator(".st-key-classify").get_by_role("button").click()
    table = page.locator(".st-key-classify_table table")
    expect(table.get_by_text("MLP", exact=True)).to_be_visible(timeout=4 * PATIENT)
    expect(table.get_by_text("k-NN (k = 3)")).to_be_visible()
    expect(page.locator(".st-key-cancel_classify")).to_have_count(0, timeout=PATIENT)
    page.locator(".st-key-confusion .heatmaplayer image, .st-key-confusion .hm").first.wait_for(state="attached")
    rows = downloaded(page, "Table (.csv)")
    assert [row["classifier"] for row in rows] == ["k-NN (k = 3)", "MLP"]
    best = max(float(row["accuracy"]) for row in rows)
    assert metric(page, "Accuracy").first.inner_text() == f"{100 * best:.1f} %"
    predictions = downloaded(page, "Predictions (.csv)")
    assert len(predictions) == 8
    assert sum(int(row["right"]) for row in predictions) == round(8 * best)

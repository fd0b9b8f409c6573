"""The Latent space page alone under AppTest: links, neighbours, a dropped file, maps in the making, sets that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from app_material import picture_png
from map_material import SET, make_map_material
from streamlit.testing.v1 import AppTest

from medfuncta_core.mednf import EmbedRequest, find_neighbors, map_file, open_set

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "latent_space.py")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_map_material(tmp_path_factory.mktemp("app"))


@pytest.fixture(autouse=True)
def environment(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in material.items():
        monkeypatch.setenv(name, value)


def visit(**address: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=120)
    for name, value in address.items():
        page.query_params[name] = value
    return turn(page)


def turn(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception, page.exception
    return page


def words(page: AppTest) -> str:
    return "\n".join(element.value for element in [*page.markdown, *page.caption, *page.info])


def test_page_without_sets_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_SETS", str(tmp_path))
    assert "medfuncta_core encode" in visit().info[0].value


def test_fresh_visit_shows_the_map_and_what_to_do() -> None:
    page = visit()
    assert "56" in words(page)
    assert "Nothing is opened yet" in words(page)
    assert page.query_params["set"] == SET
    assert page.sidebar.selectbox[0].value == "tiny-picture"  # the set's own network
    assert page.selectbox(key="map_colour").options == ["Class", "PSNR (dB)", "SSIM", "Split", "Squared error"]


def test_link_opens_a_row_with_its_neighbours(material: dict[str, str]) -> None:
    page = visit(set=SET, row="3")
    found = find_neighbors(open_set(Path(material["MEDFUNCTA_SETS"]) / SET), 3, k=10)
    assert found.vote is not None
    metric = next(metric for metric in page.metric if metric.label == "Class by the 10 nearest")
    assert metric.value == found.vote.class_name
    assert metric.delta.startswith(f"{found.vote.counts[found.vote.label]} of 10")
    assert "train/3" in "".join(element.proto.body for element in page.get("html"))
    assert page.query_params["row"] == "3"


@pytest.mark.parametrize("address", [{"set": SET, "row": "99"}, {"set": SET, "row": "x"}, {"set": "../x", "row": "1"}])
def test_address_of_nothing_opens_nothing(address: dict[str, str]) -> None:
    page = visit(**address)
    assert "Nothing is opened yet" in words(page)
    assert "row" not in page.query_params
    assert not page.error


def test_selection_shows_counts_and_mean(material: dict[str, str]) -> None:
    page = visit()
    page.session_state["medfuncta.map_rows"] = np.arange(20)
    page.session_state["medfuncta.map_focus"] = "selection"
    turn(page)
    assert "**20 signals** selected" in words(page)
    assert [button.proto.label for button in page.get("download_button")] == [
        "Latents (.npz)",
        "Table (.csv)",
        "Contact sheet (.png)",
    ]
    assert len(page.get("plotly_chart")) == 1


def test_dropped_file_is_fitted_and_gets_a_class() -> None:
    page = visit()
    page.session_state["medfuncta.map_focus"] = "file"
    turn(page)
    page.file_uploader[0].set_value(("mine.png", picture_png(), "image/png"))
    for _ in range(30):
        turn(page)
        if any(metric.label == "PSNR" for metric in page.metric):
            break
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["PSNR"].endswith("dB")
    assert metrics["Class by the 10 nearest"] in {"0", "1"}
    page.session_state["medfuncta.map_focus"] = "point"
    turn(page)
    page.session_state["medfuncta.map_focus"] = "file"
    turn(page)  # the drop zone was away in between; the file is still there
    assert {metric.label: metric.value for metric in page.metric} == metrics


def test_broken_file_is_named() -> None:
    page = visit()
    page.session_state["medfuncta.map_focus"] = "file"
    turn(page)
    page.file_uploader[0].set_value(("torn.png", picture_png()[:200], "image/png"))
    turn(page)
    assert "torn.png" in page.error[0].value


def test_map_in_the_making_is_watched_and_cancelled(material: dict[str, str]) -> None:
    page = visit()
    page.session_state["medfuncta.map_values"] = {"seed": 7}
    turn(page)
    assert "Drawing the map: UMAP in 2D" in words(page)
    page.button(key="map_cancel").click()
    turn(page)
    assert "This map was not made" in words(page)
    assert not map_file(open_set(Path(material["MEDFUNCTA_SETS"]) / SET), EmbedRequest(seed=7)).exists()

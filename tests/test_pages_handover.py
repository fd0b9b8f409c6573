"""From page to page: a row of a set opened in Fit, links that say what they carry, addresses that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_material import make_app_material, make_set
from streamlit.testing.v1 import AppTest

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "fit.py")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("app")
    return make_app_material(folder) | make_set(folder, "tiny-picture")


@pytest.fixture(autouse=True)
def environment(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in material.items():
        monkeypatch.setenv(name, value)


def visit(**address: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=180)
    for name, value in address.items():
        page.query_params[name] = value
    page.run()
    for _ in range(80):
        run = page.session_state["medfuncta.run"] if "medfuncta.run" in page.session_state else None
        if run is None or not run.active:
            break
        page.run()
    assert not page.exception
    return page


def test_row_of_a_set_is_fitted_with_its_own_checkpoint() -> None:
    page = visit(set="tiny-picture-set", row="3")
    assert page.sidebar.selectbox[0].value == "tiny-picture"
    signal = page.session_state["medfuncta.run"].signal
    assert signal.name == "tiny-picture-set train/3"
    assert "Decoded from a stored latent" in signal.notes[0]
    assert page.query_params["set"] == "tiny-picture-set"


def test_gallery_row_in_the_address_still_opens() -> None:
    page = visit(item="tiny-picture/2")
    assert page.session_state["medfuncta.run"].signal.name == "tiny-picture test/2"


@pytest.mark.parametrize("address", [{"set": "tiny-picture-set", "row": "999"}, {"set": "no such", "row": "1"}, {"set": "../x"}])
def test_address_of_nothing_opens_nothing(address: dict[str, str]) -> None:
    page = visit(**address)
    assert "Drop a file or pick" in page.info[0].value
    assert not page.error


def test_another_link_in_the_same_visit_opens_another_signal() -> None:
    page = visit(set="tiny-picture-set", row="3")
    page.query_params["row"] = "4"
    for _ in range(40):
        page.run()
        if not page.session_state["medfuncta.run"].active:
            break
    assert page.session_state["medfuncta.run"].signal.name == "tiny-picture-set train/4"

"""The Compare page alone under AppTest: methods and networks on one signal, baselines, what a change makes anew, mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_material import beats_csv, copy_checkpoint, make_app_material, picture_png, volume_nifti
from streamlit.testing.v1 import AppTest

from medfuncta_core.comparison import BASELINES, DCT
from medfuncta_core.config import FitConfig
from pages.shared.contest_run import Contest

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "compare.py")
Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("app")
    environment = make_app_material(folder)
    checkpoints = folder / "checkpoints"
    copy_checkpoint(checkpoints / "tiny-picture", checkpoints / "twin-picture", FitConfig(steps=12, inner_lr=0.25))
    return environment


@pytest.fixture
def visit(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Visit:
    for name, value in material.items():
        monkeypatch.setenv(name, value)

    def open_page(**address: str) -> AppTest:
        page = AppTest.from_file(PAGE, default_timeout=180)
        for name, value in address.items():
            page.query_params[name] = value
        return settle(page.run())

    return open_page


def contest(page: AppTest) -> Contest | None:
    return page.session_state["medfuncta.contest"] if "medfuncta.contest" in page.session_state else None


def settle(page: AppTest) -> AppTest:
    for _ in range(200):
        assert not page.exception, page.exception
        found = contest(page)
        if found is None or not found.waiting:
            return page.run()
        page.run()
    raise AssertionError("the comparison did not end")


def upload(page: AppTest, name: str, content: bytes) -> AppTest:
    page.file_uploader[0].set_value((name, content, "application/octet-stream"))
    return settle(page.run())


def table(page: AppTest) -> dict[str, float]:
    frame = page.dataframe[0].value
    return dict(zip(frame["Representation"], frame["PSNR (dB)"], strict=True))


def test_empty_page_says_what_to_do(visit: Visit) -> None:
    assert "Drop a file or pick" in visit().info[0].value


@pytest.mark.parametrize("kind", ["ecg", "picture", "volume"])
def test_both_methods_and_baselines_are_measured_on_every_kind(visit: Visit, tmp_path: Path, kind: str) -> None:
    files = {"ecg": lambda: beats_csv(), "picture": lambda: picture_png(), "volume": lambda: volume_nifti(tmp_path)}
    name = {"ecg": "beats.csv", "picture": "scan.png", "volume": "volume.nii.gz"}[kind]
    page = upload(visit(), name, files[kind]())
    assert not page.error
    measured = table(page)
    assert list(measured) == ["Gradient descent", "Gauss-Newton", *BASELINES]
    assert measured["Gauss-Newton"] > measured["Gradient descent"] - 0.1
    says = "gives the signal back" if kind == "ecg" else " ahead of "  # sixteen samples in sixteen numbers
    assert any(says in words.value for words in page.markdown)
    assert page.query_params["networks"] == f"tiny-{kind}"


def test_address_names_the_networks_and_only_fitting_ones_are_offered(visit: Visit) -> None:
    page = upload(visit(networks="tiny-picture,twin-picture,tiny-ecg,nonsense"), "scan.png", picture_png())
    assert page.multiselect[0].options == ["tiny-picture", "twin-picture"]
    measured = table(page)
    names = [f"{network}, {way}" for network in ("tiny-picture", "twin-picture") for way in ("Gradient descent", "Gauss-Newton")]
    assert list(measured) == [*names, *BASELINES]
    assert measured[names[0]] != measured[names[2]]  # half the inner rate


def test_what_was_fitted_is_not_fitted_again_when_something_is_added(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    found = contest(page)
    assert found is not None
    before = dict(found.begun)
    page.multiselect[0].set_value(["tiny-picture", "twin-picture"])
    page = settle(page.run())
    assert contest(page) is found
    after = dict(found.begun)
    assert len(after) == 4
    assert all(after[entry] is run for entry, run in before.items())
    page.button(key="contest_again").click()
    page = settle(page.run())
    assert all(run is not before.get(entry) for entry, run in found.begun)


def test_choices_take_methods_and_baselines_out(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    page.button_group(key="contest_ways").set_value(["gauss_newton"])
    page.button_group(key="contest_baselines").set_value([DCT])
    assert list(table(settle(page.run()))) == ["Gauss-Newton", DCT]
    page.number_input(key="contest_steps-tiny-picture").set_value(5)
    page = settle(page.run())
    (found,) = (run for _, run in contest(page).begun)  # pyright: ignore[reportOptionalMemberAccess]
    assert len(found.history) == 6


def test_stop_keeps_what_there_is_and_a_change_goes_on(visit: Visit) -> None:
    page = visit()
    page.file_uploader[0].set_value(("scan.png", picture_png(), "image/png"))
    page.run()
    page.run()
    found = contest(page)
    assert found is not None
    assert found.waiting
    page.button(key="stop_contest").click()
    page.run()
    page.run()
    assert not found.waiting
    assert len(found.begun) == 1
    page.number_input(key="contest_steps-tiny-picture").set_value(4)
    page = settle(page.run())
    assert len(table(page)) == 4


def test_replay_shows_all_fits_at_one_step(visit: Visit) -> None:
    page = upload(visit(networks="tiny-picture,twin-picture"), "scan.png", picture_png())
    page.slider[0].set_value(3)
    assert not settle(page.run()).exception
    assert page.slider[0].value == 3


def test_broken_network_is_named_and_the_others_are_compared(
    visit: Visit, material: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "checkpoints"
    for name in ("tiny-picture", "twin-picture"):
        copy_checkpoint(Path(material["MEDFUNCTA_CHECKPOINTS"]) / name, root / name)
    (root / "twin-picture" / "model.safetensors").write_bytes(b"nothing")
    page = AppTest.from_file(PAGE, default_timeout=180)
    visit()  # sets the environment
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(root))
    page.query_params["networks"] = "twin-picture,tiny-picture"
    page = upload(settle(page.run()), "scan.png", picture_png())
    assert any("twin-picture" in error.value for error in page.error)
    measured = table(page)
    assert measured["tiny-picture, Gauss-Newton"] > 0

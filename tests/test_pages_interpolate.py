"""The Interpolate page alone under AppTest: at once without choosing, ends in the address, files, corners, classes, numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from app_material import beats_csv, copy_checkpoint, make_app_material, make_set, picture_png, volume_nifti
from streamlit.testing.v1 import AppTest

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "interpolate.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def material(folder: Path) -> dict[str, str]:
    material = make_app_material(folder)
    for name in ("tiny-picture", "tiny-ecg", "tiny-volume"):
        material |= make_set(folder, name)
    return material


@pytest.fixture(autouse=True)
def environment(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in material.items():
        monkeypatch.setenv(name, value)


def visit(**address: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=120)
    for name, value in address.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, page.exception
    return page


def metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def address(page: AppTest) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in page.query_params.items()}


def ends(page: AppTest) -> dict[str, str]:
    """What the cards of the ends say, by label."""
    texts = [text.value for text in page.markdown if text.value[:2] == "**" and text.value[3:5] == "**"]
    return {text[2]: text for text in texts}


def drop(page: AppTest, label: str, name: str, content: bytes) -> AppTest:
    """Open an end's choice, and drop a file there."""
    page.session_state[f"choose-{label}"] = True
    page.run()
    pills = next(group for group in page.pills if group.key and group.key.startswith(f"from-{label}-"))
    pills.set_value("Your file").run()
    page.session_state[f"choose-{label}"] = True
    page.file_uploader[0].set_value((name, content, "application/octet-stream")).run()
    assert not page.exception, page.exception
    return page


def test_morph_of_two_gallery_signals_is_there_at_once() -> None:
    page = visit(checkpoint="tiny-picture")
    assert "left blob" in ends(page)["A"]
    assert "right blob" in ends(page)["B"]
    assert address(page) | {"a": "tiny-picture/0", "b": "tiny-picture/1", "view": "morph", "path": "linear"} == address(page)
    assert metrics(page)["A to B"].endswith(" dB")
    assert [button.label for button in page.download_button][:2] == ["GIF", "MP4"]
    assert not page.error
    assert any("not for diagnosis" in caption.value for caption in page.main.caption)


def test_address_opens_both_ends_and_a_set_brings_its_checkpoint() -> None:
    page = visit(a="tiny-volume-set#3", b="tiny-volume-set#5", path="spherical")
    assert page.sidebar.selectbox[0].value == "tiny-volume"
    assert "tiny-volume-set train/3" in ends(page)["A"].replace("\\", "")
    assert address(page)["path"] == "spherical"
    assert metrics(page)["A to B"] == metrics(visit(a="tiny-volume-set#3", b="tiny-volume-set#5"))["A to B"]


def test_link_of_another_page_becomes_a() -> None:
    page = visit(set="tiny-picture-set", row="7")
    assert address(page)["a"] == "tiny-picture-set#7"
    assert "set" not in address(page)
    assert address(visit(item="tiny-picture/4"))["a"] == "tiny-picture/4"


@pytest.mark.parametrize("nothing", ["no-such/1", "tiny-picture/99", "tiny-picture-set#9999", "../x#1", "words"])
def test_address_of_nothing_is_left_out(nothing: str) -> None:
    page = visit(checkpoint="tiny-picture", a=nothing)
    assert address(page)["a"] == "tiny-picture/0"


def test_swap_and_another_checkpoint() -> None:
    page = visit(checkpoint="tiny-picture")
    page.button(key="swap").click().run()
    assert (address(page)["a"], address(page)["b"]) == ("tiny-picture/1", "tiny-picture/0")
    page.sidebar.selectbox[0].set_value("tiny-ecg").run()
    assert not page.exception
    assert address(page)["a"].startswith("tiny-ecg-set#")
    assert any("Beats over one another" in text.value for text in page.markdown)


@pytest.mark.parametrize("kind", ["ecg", "picture", "volume"])
def test_dropped_file_becomes_an_end_and_chooses_its_checkpoint(kind: str, tmp_path: Path) -> None:
    files = {
        "ecg": ("own.csv", beats_csv),
        "picture": ("own.png", picture_png),
        "volume": ("own.nii.gz", lambda: volume_nifti(tmp_path)),
    }
    name, make = files[kind]
    page = drop(visit(checkpoint="tiny-picture"), "B", name, make())
    assert not page.error, page.error
    assert page.sidebar.selectbox[0].value == f"tiny-{kind}"
    assert name.partition(".")[0] in ends(page)["B"]
    assert "b" not in address(page)
    assert "A to B" in metrics(page)
    if kind == "ecg":
        before = metrics(page)["A to B"]
        next(box for box in page.number_input if box.label.startswith("Beat")).set_value(3).run()
        assert metrics(page)["A to B"] != before


def test_broken_file_is_one_line_in_its_place() -> None:
    page = drop(visit(checkpoint="tiny-picture"), "A", "cut.png", picture_png()[:300])
    (error,) = page.error
    assert "cut.png" in error.value.replace("\\", "")
    assert "right blob" in ends(page)["B"]


def test_four_corners_and_their_grid() -> None:
    page = visit(checkpoint="tiny-picture", view="corners")
    assert list(ends(page)) == ["A", "B", "C", "D"]
    assert {"a", "b", "c", "d"} <= set(address(page))
    assert [button.label for button in page.download_button] == ["Picture (.png)", "Latents and values (.npz)"]


def test_classes_are_averaged_and_a_direction_added() -> None:
    page = visit(checkpoint="tiny-picture", view="classes")
    assert page.selectbox(key="from_class-tiny-picture-set").value == 0
    caption = next(text.value for text in page.caption if "Strength 1 is the whole way" in text.value)
    page.selectbox(key="to_class-tiny-picture-set").set_value(0).run()
    assert "two different classes" in page.info[0].value
    page.selectbox(key="from_class-tiny-picture-set").set_value(1).run()
    turned = next(text.value for text in page.caption if "Strength 1 is the whole way" in text.value)
    there, back = (float(words.split("lies at ")[1].split(" ")[0]) for words in (caption, turned))
    assert there + back == pytest.approx(1, abs=0.011)  # A lies as far from the one mean as it is short of the other


def test_statistics_of_a_set_and_of_the_gallery_are_measured() -> None:
    page = visit(checkpoint="tiny-picture", view="statistics")
    assert metrics(page)["Latents"] == "56"
    assert metrics(page)["99% of the PSNR"] == "–"
    page.button(key="try_components").click().run()
    assert not page.exception
    assert metrics(page)["99% of the PSNR"].strip("> ").isdecimal()
    page.pills(key="statistics_of-tiny-picture").set_value("Gallery").run()
    assert metrics(page)["Latents"] == "6"
    assert any("lower bounds" in caption.value for caption in page.caption)


def test_set_with_a_network_of_its_own_is_walked_too(
    material: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy_checkpoint(folder / "checkpoints" / "tiny-ecg", tmp_path / "checkpoints" / "tiny-ecg")
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path / "checkpoints"))
    page = visit(a="tiny-picture-set#3")
    assert address(page)["b"].startswith("tiny-picture-set#")
    assert "A to B" in metrics(page)
    assert not page.error


def test_network_without_stored_latents_asks_for_files(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_SETS", str(tmp_path))
    monkeypatch.setenv("MEDFUNCTA_GALLERY", str(tmp_path))
    page = visit(checkpoint="tiny-picture")
    assert "Nothing yet" in ends(page)["A"]
    assert not metrics(page)
    page = drop(page, "A", "own.png", picture_png())
    page = drop(page, "B", "other.png", picture_png(bright=False))
    assert "A to B" in metrics(page)
    assert "no stored latents" in visit(checkpoint="tiny-picture", view="statistics").info[0].value


def test_page_without_checkpoints_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path))
    assert "MEDFUNCTA_CHECKPOINTS" in visit().warning[0].value


def test_display_decodes_finer_and_longer() -> None:
    page = visit(checkpoint="tiny-picture")
    page.slider(key="morph_frames").set_value(9)
    page.select_slider(key="morph_factor").set_value(2.0).run()
    (kept,) = list(page.session_state["medfuncta.morph_frames_kept"].values())[-1:]
    assert kept.parts[0].shape == (9, 36, 28, 1)
    assert np.isfinite(kept.parts[0]).all()

"""The Fit page alone under AppTest: uploads of every kind, replay, resolution, masks, links, mistakes, two visitors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_material import beats_csv, copy_checkpoint, make_app_material, picture_png, volume_nifti
from streamlit.testing.v1 import AppTest

from medfuncta_core.config import FitConfig
from pages.shared import fit_run
from pages.shared.sources import belonging_together, pack_files

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "fit.py")
Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_app_material(tmp_path_factory.mktemp("app"))


@pytest.fixture
def visit(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Visit:
    """A visitor who opens the page, with the parameters of an address."""
    for name, value in material.items():
        monkeypatch.setenv(name, value)

    def open_page(**address: str) -> AppTest:
        page = AppTest.from_file(PAGE, default_timeout=180)
        for name, value in address.items():
            page.query_params[name] = value
        return settle(page.run())

    return open_page


def settle(page: AppTest) -> AppTest:
    """Run the page until its fit is over: AppTest has no clock that would turn a fragment again."""
    for _ in range(80):
        assert not page.exception, page.exception
        run = page.session_state["medfuncta.run"] if "medfuncta.run" in page.session_state else None
        if run is None or not run.active:
            return page.run()
        page.run()
    raise AssertionError("the fit did not end")


def upload(page: AppTest, name: str, content: bytes) -> AppTest:
    page.file_uploader[0].set_value((name, content, "application/octet-stream"))
    return settle(page.run())


@dataclass(frozen=True)
class Dropped:
    """A file as Streamlit's drop zone gives it."""

    name: str
    content: bytes = b""
    file_id: str = "1"

    def getvalue(self) -> bytes:
        return self.content

    def getbuffer(self) -> memoryview:
        return memoryview(self.content)


def test_a_dropped_file_replaces_the_one_before_unless_they_belong_together() -> None:
    dicom = bytes(128) + b"DICM"
    picture, volume = Dropped("scan.png"), Dropped("h.nii.gz")
    slices, record = (
        [Dropped("1", dicom), Dropped("2.dcm", dicom)],
        [Dropped("100.hea"), Dropped("signals.dat"), Dropped("100.atr")],
    )
    for before in ([picture], slices, record):
        assert belonging_together([*before, volume]) == [volume]
    assert belonging_together([picture, *slices]) == slices
    assert belonging_together([picture, *record]) == record
    assert belonging_together([*slices, *record]) == record
    upload = pack_files([picture, Dropped("h.nii.gz", b"volume", "2")])
    assert (upload.name, upload.content, upload.identity) == ("h.nii.gz", b"volume", "1+2")


def a_file(kind: str, folder: Path) -> tuple[str, bytes]:
    files = {"ecg": ("beats.csv", beats_csv()), "picture": ("scan.png", picture_png())}
    return files.get(kind) or ("volume.nii.gz", volume_nifti(folder))


def metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def test_page_without_checkpoints_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MEDFUNCTA_GALLERY", str(tmp_path))
    page = AppTest.from_file(PAGE, default_timeout=180).run()
    assert not page.exception
    assert "MEDFUNCTA_CHECKPOINTS" in page.warning[0].value


def test_empty_page_says_what_to_do(visit: Visit) -> None:
    page = visit()
    assert "Drop a file or pick" in page.info[0].value
    assert page.sidebar.selectbox[0].options == ["tiny-ecg", "tiny-picture", "tiny-volume"]
    assert any("not for diagnosis" in caption.value for caption in page.main.caption)


@pytest.mark.parametrize("kind", ["ecg", "picture", "volume"])
def test_upload_chooses_the_checkpoint_of_its_kind_and_is_fitted(visit: Visit, tmp_path: Path, kind: str) -> None:
    page = upload(visit(), *a_file(kind, tmp_path))
    assert not page.error
    assert page.sidebar.selectbox[0].value == f"tiny-{kind}"
    run = page.session_state["medfuncta.run"]
    assert len(run.history) == 21
    assert run.result.psnr > run.history[0].psnr + 1
    assert metrics(page)["PSNR"] == f"{run.result.psnr:.1f} dB"
    assert metrics(page)["Latent / values"] == f"16 / {run.signal.values.size}"
    assert [button.label.split(" ")[0] for button in page.download_button] == ["Latent", "Reconstruction", "Report", "Curve"]
    assert any(note.value.startswith("• ") for note in page.text)


def test_step_slider_replays_the_fit(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    run = page.session_state["medfuncta.run"]
    page.slider(key=f"step-{id(run)}").set_value(2).run()
    assert page.session_state["medfuncta.run"] is run
    assert metrics(page)["PSNR"] == f"{run.history[2].psnr:.1f} dB"
    assert metrics(page)["SSIM"] == "–"


@pytest.mark.parametrize("kind", ["ecg", "picture", "volume"])
def test_resolution_slider_decodes_without_a_new_fit(visit: Visit, tmp_path: Path, kind: str) -> None:
    files = {
        "ecg": ("beats.csv", beats_csv()),
        "picture": ("s.png", picture_png()),
        "volume": ("v.nii.gz", volume_nifti(tmp_path)),
    }
    page = upload(visit(), *files[kind])
    run = page.session_state["medfuncta.run"]
    page.select_slider(key="factor").set_value(8.0).run()
    assert not page.exception
    assert page.session_state["medfuncta.run"] is run
    assert {"ecg": (20, (128,)), "picture": (20, (144, 112)), "volume": (20, (32, 40, 1))}[kind] in run._frames


def test_settings_and_masks_refit(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    first = page.session_state["medfuncta.run"]
    settle(page.number_input(key="fit_steps-tiny-picture").set_value(7).run())
    second = page.session_state["medfuncta.run"]
    assert second is not first
    assert len(second.history) == 8
    settle(page.segmented_control(key="hide-image").set_value("Random points").run())
    third = page.session_state["medfuncta.run"]
    assert third.mask.mean() == pytest.approx(0.5, abs=0.01)
    assert "PSNR, hidden part" in metrics(page)
    settle(page.segmented_control(key="hide-image").set_value("Rectangle").run())
    fourth = page.session_state["medfuncta.run"]
    assert not fourth.mask[9, 7]
    assert fourth.mask[0].all()


@pytest.mark.parametrize(
    "fit",
    [
        FitConfig(steps=5000, inner_lr=0.5),
        FitConfig(steps=2, inner_lr=50),
        FitConfig(steps=2, inner_lr=1e-7),
        FitConfig(steps=2, selection_ratio=0.004),
    ],
    ids=["many steps", "high rate", "low rate", "few points"],
)
def test_checkpoints_own_settings_are_always_within_reach(
    visit: Visit, material: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: FitConfig
) -> None:
    copy_checkpoint(Path(material["MEDFUNCTA_CHECKPOINTS"]) / "tiny-picture", tmp_path / "own-mind", fit)
    page = visit()
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path))
    page.file_uploader[0].set_value(("scan.png", picture_png(), "image/png"))
    page.run()
    assert not page.exception
    assert page.number_input(key="fit_steps-own-mind").value == fit.steps
    assert page.number_input(key="inner_lr-own-mind").value == fit.inner_lr
    assert page.session_state["medfuncta.run"].config == fit


def test_decoding_by_two_threads_is_one_after_the_other(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    run = upload(visit(), "scan.png", picture_png()).session_state["medfuncta.run"]
    run._frames.clear()
    decode, alone, pause = run.fitter.decode, threading.Lock(), threading.Event()

    def decode_alone(latent: Any, shape: tuple[int, ...]) -> np.ndarray:
        assert alone.acquire(blocking=False), "a fitter's buffers were used by two threads at once"
        try:
            pause.wait(0.02)
            return decode(latent, shape)
        finally:
            alone.release()

    monkeypatch.setattr(run.fitter, "decode", decode_alone)
    wanted = [(index, shape) for shape in (None, (36, 28)) for index in (0, 1, 0, 2)]
    with ThreadPoolExecutor(2) as visitors:
        found = list(visitors.map(lambda frame: run.decode(*frame), wanted))
    for (index, shape), values in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(values, decode(run.history[index].latent, shape or run.signal.shape))
    assert len(run._frames) == 6


def test_kept_frames_are_bounded_by_bytes(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    run = upload(visit(), "scan.png", picture_png()).session_state["medfuncta.run"]
    frame = run.decode(0).nbytes
    run._frames.clear()
    monkeypatch.setattr(fit_run, "KEPT_BYTES", 3 * frame)
    for index in (0, 1, 2, 0, 3):
        run.decode(index)
    assert [index for index, _ in run._frames] == [2, 0, 3]
    run.decode(4, (36, 28))
    assert [index for index, _ in run._frames] == [4]  # larger than all that is kept, and still the one on the page


def test_picker_chooses_among_beats(visit: Visit) -> None:
    page = upload(visit(), "beats.csv", beats_csv())
    first = page.session_state["medfuncta.run"]
    picker = next(box for box in page.number_input if box.label.startswith("Beat"))
    assert picker.max == 3
    settle(picker.set_value(3).run())
    second = page.session_state["medfuncta.run"]
    assert second.signal.values.argmax() > first.signal.values.argmax()


def test_address_opens_checkpoint_and_gallery_item(visit: Visit) -> None:
    page = visit(checkpoint="tiny-picture", item="tiny-picture/3")
    run = page.session_state["medfuncta.run"]
    assert run.signal.class_name == "right blob"
    assert "stored latent" in page.text[0].value
    assert page.query_params["item"] in ("tiny-picture/3", ["tiny-picture/3"])
    assert visit(item="tiny-picture/99").info
    assert visit(item="nonsense", checkpoint="nonsense").info
    assert any("Decoded from a stored latent" in caption.value for caption in page.caption)


def test_checkpoint_can_be_changed_and_a_wrong_kind_is_explained(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    page.sidebar.selectbox[0].set_value("tiny-ecg").run()
    assert "scan.png" in page.error[0].value
    assert "choose a checkpoint that fits" in page.error[0].value
    settle(page.sidebar.selectbox[0].set_value("tiny-picture").run())
    assert not page.error
    assert metrics(page)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.png", picture_png()[:300]),
        ("text.nii.gz", b"this is no volume"),
        ("empty.csv", b""),
        ("strange.xyz", b"\x00\x01\x02"),
    ],
)
def test_broken_file_is_one_line_and_the_page_goes_on(visit: Visit, name: str, content: bytes) -> None:
    page = visit()
    page.file_uploader[0].set_value((name, content, "application/octet-stream"))
    page.run()
    assert not page.exception
    (error,) = page.error
    assert name in error.value.replace("\\", "")
    assert "\n" not in error.value
    assert upload(page, "good.png", picture_png()).metric


@pytest.mark.parametrize("broken", ["gallery", "latents", "weights"])
def test_broken_gallery_leaves_the_page_to_own_files(
    material: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    checkpoints, galleries = (Path(material[f"MEDFUNCTA_{what}"]) for what in ("CHECKPOINTS", "GALLERY"))
    gallery = tmp_path / "gallery" / ("tiny-volume.safetensors" if broken == "latents" else "tiny-picture.safetensors")
    gallery.parent.mkdir()
    content = (galleries / "tiny-picture.safetensors").read_bytes()
    gallery.write_bytes(content[:-40] if broken == "gallery" else content)  # "latents": a gallery of pictures for volumes
    for name in ("tiny-ecg", gallery.stem):
        copy_checkpoint(checkpoints / name, tmp_path / "checkpoints" / name)
    if broken == "weights":
        weights = tmp_path / "checkpoints" / "tiny-picture" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-40])
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDFUNCTA_GALLERY", str(gallery.parent))
    page = AppTest.from_file(PAGE, default_timeout=180).run()
    assert not page.exception
    assert len(page.error) == 1
    page = upload(page, "beats.csv", beats_csv())
    assert len(page.error) == 1
    assert metrics(page)["PSNR"] == f"{page.session_state['medfuncta.run'].result.psnr:.1f} dB"
    linked = AppTest.from_file(PAGE, default_timeout=180)
    linked.query_params["item"] = f"{gallery.stem}/0"
    linked.run()
    assert not linked.exception
    assert upload(linked, "beats.csv", beats_csv()).metric


def test_stopped_fit_keeps_the_steps_it_has(visit: Visit) -> None:
    page = upload(visit(), "scan.png", picture_png())
    page.number_input(key="fit_steps-tiny-picture").set_value(2000)
    page.run()
    run = page.session_state["medfuncta.run"]
    run.stop()
    page.run()
    assert not page.exception
    assert run.result is not None
    assert len(run.history) < 2001


def test_two_visitors_do_not_see_each_other(visit: Visit) -> None:
    first, second = upload(visit(), "a.png", picture_png(bright=True)), upload(visit(), "b.png", picture_png(bright=False))
    first.run()
    runs = [page.session_state["medfuncta.run"] for page in (first, second)]
    assert [run.signal.name for run in runs] == ["a.png", "b.png"]
    assert runs[0].signal.values.mean() > runs[1].signal.values.mean() + 0.2
    assert runs[0].fitter.field is runs[1].fitter.field  # the frozen field is what they share


def test_report_is_complete_json(visit: Visit) -> None:
    from medfuncta_core.report import fit_report, history_csv

    run = upload(visit(), "scan.png", picture_png()).session_state["medfuncta.run"]
    report = json.loads(json.dumps(fit_report(run.result, run.config, run.checkpoint), allow_nan=False))
    assert report["metrics"]["psnr"] == pytest.approx(run.result.psnr)
    assert report["latent"] == {"length": 16, "values_in_signal": 252, "compression_ratio": 15.75}
    assert len(report["history"]) == 21
    assert report["versions"]["torch"]
    assert report["signal"]["notes"]
    assert len(history_csv(run.history).splitlines()) == 22

"""The Volumes page alone under AppTest: fits, planes that share a crosshair, oblique cuts, regions, windows, labels, exports."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from app_material import beats_csv, copy_checkpoint, make_app_material, make_set
from PIL import Image
from streamlit.testing.v1 import AppTest
from volume_material import OBLIQUE, blob, nifti, zipped_series

from pages.shared import volume_run
from pages.shared.jobs import Job

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "volumes.py")
Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_app_material(tmp_path_factory.mktemp("app"), ["tiny-volume"])


@pytest.fixture
def visit(material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Visit:
    """A visitor who opens the page."""
    for name, value in material.items():
        monkeypatch.setenv(name, value)

    def open_page(**address: str) -> AppTest:
        page = AppTest.from_file(PAGE, default_timeout=180)
        for name, value in address.items():
            page.query_params[name] = value
        return settle(page.run())

    return open_page


def run_of(page: AppTest) -> Any:
    return page.session_state["medfuncta.volume_run"] if "medfuncta.volume_run" in page.session_state else None


def settle(page: AppTest) -> AppTest:
    """Run the page until its fit is over."""
    for _ in range(400):
        assert not page.exception, page.exception
        run = run_of(page)
        if run is None or not run.active:
            return page.run()
        time.sleep(0.05)
        page.run()
    raise AssertionError("the fit did not end")


def upload(page: AppTest, name: str, content: bytes) -> AppTest:
    page.file_uploader[0].set_value((name, content, "application/octet-stream"))
    return settle(page.run())


@pytest.fixture
def fitted(visit: Visit, tmp_path: Path) -> AppTest:
    page = upload(visit(), "ball.nii.gz", nifti(1000 * blob((7, 8, 9)), OBLIQUE, tmp_path))
    assert not page.error
    return page


def test_empty_page_offers_volumes_only(visit: Visit) -> None:
    page = visit()
    assert page.sidebar.selectbox[0].options == ["tiny-volume"]
    assert "Drop a file or pick" in page.info[0].value


def test_upload_is_fitted_by_a_thread_and_shown_in_three_planes(fitted: AppTest) -> None:
    run = run_of(fitted)
    assert len(run.history) == 21
    assert run.result.psnr > run.history[0].psnr + 1
    sliders = {slider.label: slider for slider in fitted.slider}
    assert {"Axial", "Coronal", "Sagittal"} <= set(sliders)
    sliders["Axial"].set_value(1.5).run()
    assert not fitted.exception
    across = next(axis for axis in range(3) if run.at[axis] == 1.5)
    assert run.geometry.shape[across] - 1 == sliders["Axial"].max


def test_each_plane_has_a_resolution_of_its_own(fitted: AppTest) -> None:
    run = run_of(fitted)
    fitted.segmented_control(key="factor-Coronal").set_value(8).run()
    assert not fitted.exception
    widest = max(view.reconstruction.shape[0] for view in run._cuts.values())
    assert widest >= 8 * 4
    assert any(view.reconstruction.shape[0] <= 6 for view in run._cuts.values())  # the others stay as they were


def test_oblique_plane_is_decoded_at_the_angles_asked_for(fitted: AppTest) -> None:
    run = run_of(fitted)
    fitted.segmented_control(key="volume_view").set_value("Oblique").run()
    before = len(run._cuts)
    fitted.slider(key="oblique_Turn").set_value(-40).run()
    assert not fitted.exception
    assert len(run._cuts) == before + 1
    newest = next(reversed(run._cuts.values()))
    assert 0.2 < newest.inside.mean() < 1
    assert np.ptp(newest.reconstruction[newest.inside]) > 0.1


def test_file_of_another_kind_is_explained_in_one_line(visit: Visit) -> None:
    page = visit()
    page.file_uploader[0].set_value(("beats.csv", beats_csv(), "text/csv"))
    page.run()
    assert not page.exception
    assert "beats.csv" in page.error[0].value.replace("\\", "")


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label.startswith(label)).click()
    return settle(page.run())


def wait_for_job(page: AppTest, name: str) -> Any:
    """The job's result, once its thread is done."""
    job = page.session_state[f"medfuncta.job_{name}"]
    job._thread.join(120)
    page.run()
    assert not page.exception
    assert job.error is None
    return job.result


def test_region_is_looked_at_closely_and_fitted_as_its_own_field(fitted: AppTest) -> None:
    whole = run_of(fitted)
    whole.box = (0, (0.2, 0.25, 0.7, 0.9))
    fitted.run()
    assert not fitted.exception
    finest = max(view.reconstruction.shape[:2] for view in whole._cuts.values())
    assert max(finest) == 128
    press(fitted, "Fit this region")
    part = run_of(fitted)
    assert part is not whole
    assert all(few < many for few, many in zip(part.file_geometry.shape, whole.file_geometry.shape, strict=True))
    corners = np.array([[0, 0, 0], np.array(part.file_geometry.shape) - 1])
    inside = whole.file_geometry.mm_to_index(part.file_geometry.index_to_mm(corners))
    np.testing.assert_allclose(inside, np.rint(inside), atol=1e-6)
    assert whole.file_geometry.contains(inside).all()
    press(fitted, "Back to the whole volume")
    assert run_of(fitted).file_geometry.shape == whole.file_geometry.shape


def test_random_voxels_of_the_file_are_fitted_instead_of_the_grid(fitted: AppTest) -> None:
    settle(fitted.segmented_control(key="volume_points").set_value("Random voxels of the file").run())
    run = run_of(fitted)
    assert not fitted.error
    assert len(run.volume.voxels.values) == 7 * 8 * 9  # the file has fewer than were asked for
    assert run.result.psnr > run.history[0].psnr + 1
    assert any("drawn at random" in note.value for note in fitted.text)


def test_input_can_be_the_file_and_windows_are_presets_of_ct(visit: Visit, tmp_path: Path) -> None:
    page = upload(visit(), "ct.nii.gz", nifti(1500 * blob((9, 8, 7)) - 1000, OBLIQUE, tmp_path))
    run = run_of(page)
    page.segmented_control(key="volume_truth").set_value("The file, 9 × 8 × 7").run()
    preset = next(group for group in page.button_group if (group.key or "").startswith("window_preset"))
    preset.set_value("Bone")
    page.run()
    assert not page.exception
    sliders = {slider.label: slider.value for slider in page.slider}
    assert (sliders["Level"], sliders["Width"]) == (400, 1800)
    assert any(key[-2] for key in run._cuts)  # compared with the file's voxels


def test_labels_are_laid_over_the_slices(fitted: AppTest, tmp_path: Path) -> None:
    labels = (blob((7, 8, 9)) > 0.5) * 2.0
    fitted.file_uploader(key="label_file").set_value(("mask.nii.gz", nifti(labels, OBLIQUE, tmp_path), "application/gzip"))
    fitted.run()
    assert not fitted.exception
    assert run_of(fitted).labels.numbers == (2,)
    image = nifti(1000 * blob((7, 8, 9)) + 0.3, OBLIQUE, tmp_path)
    fitted.file_uploader(key="label_file").set_value(("scan.nii.gz", image, "application/gzip"))
    fitted.run()
    assert "not whole" in fitted.error[0].value


@pytest.mark.parametrize(("grid", "factor"), [("File", None), ("2×", 2)])
def test_nifti_lies_over_the_file(fitted: AppTest, tmp_path: Path, grid: str, factor: int | None) -> None:
    run = run_of(fitted)
    fitted.segmented_control(key="volume_view").set_value("Download").run()
    fitted.selectbox(key="export_grid").set_value(grid).run()
    press(fitted, "Decode")
    (tmp_path / "out.nii.gz").write_bytes(wait_for_job(fitted, "nifti"))
    image = nibabel.load(tmp_path / "out.nii.gz")
    assert isinstance(image, nibabel.Nifti1Image)
    if factor is None:
        np.testing.assert_allclose(np.asarray(image.affine), OBLIQUE, atol=1e-4)
        assert image.shape == (7, 8, 9)
    else:
        assert image.shape == tuple(factor * points for points in run.signal.shape)
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = index @ np.asarray(image.affine)[:3, :3].T + np.asarray(image.affine)[:3, 3]
    values = run.fitter.decode_at(run.result.latent, np.clip(run.geometry.mm_to_field(places), -1, 1).astype(np.float32))
    low, high = run.signal.value_range
    np.testing.assert_allclose(image.get_fdata().reshape(-1), low + values[:, 0] * (high - low), atol=1e-2 * (high - low))
    assert any(button.label.startswith("NIfTI, ") for button in fitted.download_button)


def test_film_flies_through_the_volume(fitted: AppTest) -> None:
    fitted.segmented_control(key="volume_view").set_value("Download").run()
    fitted.number_input(key="film_frames").set_value(5).run()
    press(fitted, "Make the film")
    film = Image.open(io.BytesIO(wait_for_job(fitted, "film")))
    assert film.format == "GIF"
    assert getattr(film, "n_frames", 1) == 5


def test_cancelled_job_leaves_nothing_and_can_be_begun_again() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(tell: Callable[[float, str], None]) -> str:
        tell(0.5, "Half")
        begun.set()
        go_on.wait(30)
        tell(0.6, "More")
        return "done"

    job = Job(work, "key")
    assert begun.wait(30)
    assert job.active
    assert job.share == 0.5
    job.cancel()
    go_on.set()
    job._thread.join(30)
    assert (job.result, job.active, job.cancelled) == (None, False, True)


def test_volumes_can_be_mixed_with_one_put_aside(fitted: AppTest, tmp_path: Path) -> None:
    fitted.segmented_control(key="volume_view").set_value("Between two").run()
    assert any("no second volume yet" in info.value for info in fitted.info)
    press(fitted, "Put this volume aside")
    upload(fitted, "other.nii.gz", nifti(blob((6, 6, 6))[::-1], np.diag([2.0, 2, 2, 1]), tmp_path))
    assert fitted.selectbox(key="between_second").options == ["Put aside: ball.nii.gz"]
    fitted.slider(key="between_share").set_value(25).run()
    assert not fitted.exception


def test_surfaces_stand_in_where_the_browser_draws_no_volumes(fitted: AppTest) -> None:
    fitted.segmented_control(key="volume_view").set_value("3D").run()
    assert not fitted.exception
    control = next(group for group in fitted.segmented_control if (group.key or "").startswith("space_how"))
    control.set_value("Surfaces").run()
    assert not fitted.exception
    fitted.slider(key="space_level").set_value(30).run()
    assert not fitted.exception


def test_row_of_a_set_is_opened(visit: Visit, material: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(material["MEDFUNCTA_CHECKPOINTS"]).parent
    for name, value in make_set(folder, "tiny-volume").items():
        monkeypatch.setenv(name, value)
    page = visit()
    page.number_input(key="volume_row-tiny-volume-set").set_value(3).run()
    press(page, "Open this volume")
    assert not page.error
    assert run_of(page).volume.file is None
    assert page.query_params["row"] in ("3", ["3"])
    planes = [slider.label for slider in page.slider if slider.label.startswith("Across axis")]
    assert len(planes) == 3  # no affine: no names are made up
    run_of(page).box = (1, (0.0, 0.0, 0.6, 0.7))
    press(page.run(), "Fit this region")
    assert any("Cut to the region of voxels" in note.value for note in page.text)


def test_doubtful_file_is_said_to_be_so(visit: Visit) -> None:
    page = upload(visit(), "series.zip", zipped_series(missing=(2,), tilt=0.4))
    words = " ".join(warning.value for warning in page.warning)
    assert "missing" in words
    assert "Gantry tilt" in words


def test_stopped_fit_keeps_the_steps_it_has_and_an_unwatched_one_ends(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_run, "UNWATCHED_SECONDS", -1.0)
    page = visit()
    page.file_uploader[0].set_value(("ball.nii.gz", nifti(blob((7, 8, 9)), OBLIQUE, tmp_path), "application/gzip"))
    page.run()
    run_of(page)._thread.join(60)
    page.run()
    assert "nobody watched" in page.error[0].value
    monkeypatch.undo()


def test_measured_quality_over_resolution_is_shown(visit: Visit, material: dict[str, str]) -> None:
    tiny = Path(material["MEDFUNCTA_CHECKPOINTS"]) / "tiny-volume"
    copy_checkpoint(tiny, tiny.with_name("hippocampus-32"))
    page = visit(checkpoint="hippocampus-32")
    assert any("Measured against interpolation" in box.label for box in page.expander)
    assert any("interpolation" in text.value for text in page.markdown)

"""The Train page under AppTest: data by every road, what it shows of them, settings, the measured estimate, launch and queue."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from medfuncta_core.config import PRESETS
from medfuncta_core.runs import read_queue, read_run
from medfuncta_core.runs.knobs import KNOBS
from medfuncta_core.runs.processes import locked
from medfuncta_core.signals import medmnist_files
from medfuncta_core.signals.keeping import list_kept
from pages.shared import train_download

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "train.py")
TABLE_6 = {
    *("field.depth", "field.width", "field.latent_dim", "field.omega_first", "field.omega_last", "meta.batch_size", "meta.steps"),
    *("meta.selection_ratio", "meta.inner_steps", "meta.inner_lr", "fit.steps", "meta.outer_lr", "meta.seed"),
}

Visit = Callable[..., AppTest]


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """A visitor of an app that has nothing yet: no checkpoints, no runs, no data."""
    for name in ("CHECKPOINTS", "GALLERY", "RUNS", "DATA", "CACHE"):
        monkeypatch.setenv(f"MEDFUNCTA_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def open_page(**address: str) -> AppTest:
        page = AppTest.from_file(PAGE, default_timeout=120)
        for name, value in address.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        return page

    return open_page


def pictures(count: int) -> np.ndarray:
    """Bytes of 8x6 pictures, `(count, 8, 6)`, alike in no two."""
    return np.random.default_rng(count).integers(20, 240, (count, 8, 6), dtype=np.uint8)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """24, 10 and 5 pictures of two named classes in MedMNIST's layout."""
    counts = {"train": 24, "val": 10, "test": 5}
    arrays = {f"{split}_images": pictures(count) for split, count in counts.items()}
    arrays |= {f"{split}_labels": np.arange(count) % 2 for split, count in counts.items()}
    np.savez(tmp_path / "cells.npz", allow_pickle=False, **arrays, class_names=np.array(["round", "long"]))
    return tmp_path / "cells.npz"


def set_numbers(page: AppTest, **values: float) -> AppTest:
    """Turn knobs, by the last part of their key."""
    for number in page.number_input:
        name = str(number.key).rpartition(".")[2]
        if name in values and str(number.key).startswith("knob-"):
            number.set_value(values[name])
    return page.run()


def small(page: AppTest) -> AppTest:
    return set_numbers(page, depth=3, width=6, latent_dim=4, inner_steps=2, batch_size=3, omega_first=2.0, omega_last=5.0)


def test_empty_page_says_what_to_do_and_offers_the_download(visit: Visit) -> None:
    page = visit()
    assert "Choose data" in page.info[0].value
    assert any("breastmnist" in caption.value or "is not on this machine yet" in caption.value for caption in page.caption)
    assert page.button(key="start_download").label == "Download"
    assert any("Nothing trains and nothing waits" in caption.value for caption in page.caption)
    assert not page.error


def test_data_is_shown_before_anything_is_trained(visit: Visit, archive: Path) -> None:
    page = visit(data=str(archive))
    assert {metric.label: metric.value for metric in page.metric} == {"Training": "24", "Validation": "10", "Test": "5"}
    table = page.dataframe[0].value
    assert table["Class"].tolist() == ["round", "long"]
    assert table["Training"].tolist() == [12, 12]
    written = [text.value for text in page.markdown]
    low, high = pictures(24).min(), pictures(24).max()
    assert f"8 × 6 image · values **{low} to {high}**" in written
    assert page.query_params["data"] == str(archive)


def test_every_setting_of_table_6_is_there_with_a_sentence_and_limits(visit: Visit, archive: Path) -> None:
    page = visit(data=str(archive))
    numbers = {str(number.key).split("-", 1)[1]: number for number in page.number_input if str(number.key).startswith("knob-")}
    preset = PRESETS["image-64-small"]
    for knob in KNOBS:
        found = next((number for key, number in numbers.items() if key.endswith(knob.key)), None)
        if knob.key in TABLE_6:
            assert found is not None
            assert found.value == knob.value(preset)
            assert found.help == knob.help
            assert found.help.endswith(".")
            assert found.min == knob.low
            assert found.max == knob.high
        assert knob.help
    assert page.slider[0].label == "Validation share"
    assert "10 of 10 signals" in "".join(caption.value for caption in page.caption)


@pytest.mark.parametrize("path", ["nowhere.npz", "x" * 5000])
def test_wrong_path_is_one_line_and_the_page_goes_on(visit: Visit, path: str) -> None:
    page = visit()
    page.segmented_control(key="data_from").set_value("On this machine").run()
    page.text_input(key="data_path").set_value(path).run()
    assert "no such file or folder" in page.error[0].value
    assert any("Nothing trains" in caption.value for caption in page.caption)


def zipped_pictures() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for number, pixels in enumerate(pictures(40)):
            one = io.BytesIO()
            Image.fromarray(pixels).save(one, format="PNG")
            packed.writestr(f"cells/{'round' if number % 2 else 'long'}/{number}.png", one.getvalue())
        packed.writestr("cells/../../outside.png", b"no picture")
    return buffer.getvalue()


def test_zip_of_pictures_is_kept_whole_and_surveyed(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    page.segmented_control(key="data_from").set_value("Upload").run()
    page.file_uploader[0].set_value(("my cells.zip", zipped_pictures(), "application/zip")).run()
    (kept,) = list_kept(tmp_path / "data")
    assert re.fullmatch(r"my-cells-[0-9a-f]{8}", kept.name)
    assert not list(tmp_path.glob("outside*"))
    assert page.selectbox(key="kept_data").value == str(kept)
    assert page.dataframe[0].value["Class"].tolist() == ["long", "round"]
    page.file_uploader[0].set_value(("notes.zip", b"no archive", "application/zip")).run()
    assert "cannot be read as a .zip archive" in page.error[0].value
    assert list_kept(tmp_path / "data") == (kept,)


def test_estimate_is_measured_in_a_process_of_its_own(visit: Visit, archive: Path) -> None:
    page = small(visit(data=str(archive)))
    page.button(key="start_probe").click().run()
    probe = page.session_state["medfuncta.probe"]
    end = time.monotonic() + 120
    while probe.active and time.monotonic() < end:
        time.sleep(0.2)
        page.run()
    assert probe.error is None
    shown = {metric.label: metric.value for metric in page.run().metric}
    assert re.fullmatch(r"[\d.,]+ (ms|s)", shown["Per step"])
    assert re.fullmatch(r"[\d.,]+ (MB|GB)", shown["Memory"])
    found = probe.estimate
    assert found.shape == (8, 6)
    assert found.memory_bytes > 50e6
    assert found.steps_measured >= 1
    assert found.total_seconds > 800 * found.step_seconds
    page = set_numbers(page, batch_size=2)
    assert "Per step" not in {metric.label for metric in page.metric}
    assert page.button(key="start_probe").label == "Settings changed: measure again"
    page.button(key="start_probe").click().run()
    page.button(key="cancel_probe").click().run()
    assert page.button(key="start_probe").label == "Measure time and memory"


def test_launch_puts_what_was_chosen_into_the_queue_which_can_be_changed(visit: Visit, archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with locked(root / ".worker.lock"):  # as if a worker were busy with other runs: nothing starts
        page = set_numbers(small(visit(data=str(archive))), inner_lr=0.5, steps=40, selection_ratio=0.5)
        page.slider[0].set_value(50).run()
        page.toggle(key="tensorboard").set_value(True).run()
        for _ in range(2):
            page.button(key="launch").click().run()
        first, second = "cells-image-64-small", "cells-image-64-small-2"
        assert read_queue(root).order == (first, second)
        request = read_run(root, first).request
        assert request is not None
        assert request.data == str(archive)
        assert (request.shape, request.tensorboard) == ((8, 6), True)
        preset = request.resolve()
        assert (preset.meta.inner_lr, preset.fit.inner_lr, preset.meta.steps) == (0.5, 0.5, 40)
        assert (preset.field.latent_dim, preset.meta.validate_signals, preset.meta.selection_ratio) == (4, 5, 0.5)
        words = "".join(text.value for text in page.markdown)
        assert f"**{second}** · queued · number 2 in the queue" in words
        page.button(key=f"up-{second}").click().run()
        assert read_queue(root).order == (second, first)
        page.button(key=f"leave-{first}").click().run()
        assert read_queue(root).order == (second,)
        assert read_run(root, first).status.state == "stopped"


def test_settings_that_do_not_go_together_are_one_line(visit: Visit, archive: Path) -> None:
    page = visit(data=str(archive))
    page.number_input(key="processes").set_value(64).run()
    assert "a batch of 4 cannot be shared by 64 processes" in page.error[0].value
    assert not page.exception


class Server(BaseHTTPRequestHandler):
    """Sends a file in two halves; the second one when it is let."""

    content = bytes(range(256)) * 8192
    go_on = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.wfile.flush()
        self.go_on.wait(60)
        self.wfile.write(self.content[half:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """MedMNIST's table with one file that a local server has."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = medmnist_files._read_table()["breastmnist"]
    monkeypatch.setitem(entry, "url", f"http://127.0.0.1:{server.server_port}/breastmnist.npz")
    monkeypatch.setitem(entry, "MD5", hashlib.md5(Server.content, usedforsecurity=False).hexdigest())
    train_download._downloads().clear()
    Server.go_on.clear()
    yield entry
    Server.go_on.set()
    server.shutdown()
    server.server_close()


def wait_for(page: AppTest, met: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not met() and time.monotonic() < end:
        time.sleep(0.1)
        page.run()
    assert met()


def test_download_shows_how_far_it_is_can_be_given_up_and_fails_in_one_line(
    visit: Visit, published: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(data="breastmnist:28")
    page.button(key="start_download").click().run()
    run = train_download._downloads()["breastmnist.npz"]
    wait_for(page, lambda: run.progress)
    page.button(key="cancel_download").click().run()
    assert page.button(key="start_download").label == "Download"
    Server.go_on.set()
    wait_for(page, lambda: not run._thread.is_alive())
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setitem(published, "url", "http://127.0.0.1:9/nobody.npz")
    page.button(key="start_download").click().run()
    wait_for(page, lambda: page.error)
    assert "download http://127.0.0.1:9/nobody.npz by hand" in page.error[0].value.replace("\\", "")

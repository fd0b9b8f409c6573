"""The Classify page under AppTest: choose, start, watch, cancel, results and mistakes, and what it says when it cannot."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from app_material import make_app_material, make_set
from mednf_material import write_set
from streamlit.testing.v1 import AppTest

from medfuncta_core.errors import DataSetError, SetError
from medfuncta_core.mednf import open_set
from medfuncta_core.mednf.classifying import classify
from medfuncta_core.mednf.classifying_results import ClassifyRequest, ClassifyResult, save_result
from medfuncta_core.runs.classification import (
    arguments_of,
    cancel_classification,
    launch_classification,
    read_estimates,
    read_progress,
    work_on_classifications,
)
from pages.shared import classify_choice, state

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "classify.py")
NAME = "tiny-picture-set"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    make_app_material(folder)
    make_set(folder, "tiny-picture")
    return folder


@pytest.fixture(autouse=True)
def environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_CHECKPOINTS", str(folder / "checkpoints"))
    monkeypatch.setenv("MEDFUNCTA_SETS", str(folder / "sets"))
    monkeypatch.setenv("MEDFUNCTA_CACHE", str(tmp_path / "cache"))


def visit(**address: str) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=180)
    for name, value in address.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, page.exception
    return page


def classified(folder: Path, **settings: object) -> ClassifyResult:
    """A real result, kept where the page looks for it."""
    opened = open_set(folder / "sets" / NAME)
    *_, last = classify(opened, ClassifyRequest.parse(settings, "test"), data=folder / "tiny-picture.npz", device="cpu")
    assert last.result is not None
    save_result(state.result_folder(NAME), last.result)
    return last.result


def wait_until_over(folder: Path) -> None:
    end = time.monotonic() + 120
    while read_progress(folder).state == "running":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_page_without_sets_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_SETS", str(tmp_path))
    assert "medfuncta_core encode" in visit().info[0].value


def test_page_offers_what_goes_with_the_set_and_says_what_it_would_do() -> None:
    page = visit(set=NAME)
    assert page.selectbox(key="classify_set").value == NAME
    assert page.query_params["set"] == NAME
    assert any("40 / 8 / 8" in caption.value for caption in page.caption)
    assert any("4 to classify" in caption.value for caption in page.caption)
    assert not page.button(key="classify").disabled
    page.button_group(key="classifiers-image").set_value([]).run()
    assert page.button(key="classify").disabled


def test_pixels_ask_for_the_data_before_anything_starts() -> None:
    page = visit()
    page.button_group(key="classifiers-image").set_value(["ResNet50"]).run()
    assert page.button(key="classify").disabled
    assert any("which data it was encoded from" in caption.value for caption in page.caption)


def test_results_are_shown_with_the_library_numbers(folder: Path) -> None:
    results = [classified(folder, method="knn", k=1), classified(folder, method="knn", k=1, space="pixels")]
    results += [classified(folder, method="mlp", epochs=1)]
    page = visit()
    table = page.table[0].value
    assert list(table["Classifier"]) == ["k-NN (k = 1)", "MLP", "k-NN (k = 1)"]
    assert table["Acc. (%)"].str.strip("*").tolist() == [f"{100 * results[place].accuracy:.2f}" for place in (0, 2, 1)]
    best = max(results, key=lambda result: (result.accuracy, result.macro_f1))
    assert {metric.label: metric.value for metric in page.metric}["Accuracy"] == f"{100 * best.accuracy:.1f} %"
    assert any("Always answering" in markdown.value for markdown in page.markdown)
    assert any("latents instead of pixels" in markdown.value for markdown in page.markdown)
    page.selectbox(key="classify_shown").select(results[2].request.key).run()
    assert {metric.label: metric.value for metric in page.metric}["Macro F1"] == f"{results[2].macro_f1:.3f}"
    page.button(key="clear_results").click().run()
    assert not page.metric  # the measured tables below stay


def test_mistakes_are_decoded_and_can_be_opened_elsewhere(folder: Path) -> None:
    result = classified(folder, method="knn", k=40)  # all vote: whatever is less common is not recognised
    latents = open_set(folder / "sets" / NAME)
    wrong = result.mistakes(latents.labels[list(result.rows)])
    assert len(wrong) == result.n_test - sum(result.confusion[i][i] for i in range(2)) > 0
    page = visit()
    for _ in range(4):
        page.run()
    made = state.thumbnails(f"set {NAME}", state.set_version(NAME))
    assert {mistake.row for mistake in wrong} <= set(made)
    assert [f"All mistakes ({len(wrong)})"] == page.selectbox(key="classify_pair").options[:1]
    assert any("taken for" in markdown.value for markdown in page.markdown)


def test_a_process_of_its_own_classifies_and_the_page_shows_it(folder: Path) -> None:
    page = visit()
    page.button_group(key="classifiers-image").set_value(["k-NN, k = 1", "k-NN, k = 3"]).run()
    page.button(key="classify").click().run()
    place = state.result_folder(NAME)
    assert read_progress(place).state in ("running", "done")
    wait_until_over(place)
    page.run()
    assert read_progress(place).state == "done"
    assert list(page.table[0].value["Classifier"]) == ["k-NN (k = 1)", "k-NN (k = 3)"]
    assert any("All 2 are kept" in caption.value for caption in page.caption)


def test_what_went_wrong_in_the_process_is_said_on_the_page(folder: Path) -> None:
    place = state.result_folder(NAME)
    request = ClassifyRequest(method="knn", space="pixels")
    with pytest.raises(DataSetError):
        work_on_classifications(place, folder / "sets" / NAME, [request], data="no such data", device="cpu")
    assert "neither a path nor a MedMNIST name" in visit().error[0].value


def test_cancelling_ends_the_process_and_keeps_the_page(folder: Path) -> None:
    place = state.result_folder(NAME)
    requests = [ClassifyRequest(method="mlp", epochs=1000)]
    launch_classification(place, arguments_of(folder / "sets" / NAME, requests, None, "cpu"), "MLP")
    process = read_progress(place).process
    assert process is not None
    with pytest.raises(SetError, match="already"):
        launch_classification(place, arguments_of(folder / "sets" / NAME, requests, None, "cpu"), "MLP")
    cancel_classification(place)
    end = time.monotonic() + 60
    while process.alive():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert read_progress(place).state == "cancelled"
    assert not visit().error


def test_networks_of_pictures_are_timed_before_they_start(folder: Path) -> None:
    page = visit()
    page.text_input(key=f"classify_data-{NAME}").set_value(str(folder / "tiny-picture.npz")).run()
    page.button_group(key="classifiers-image").set_value(["EfficientNet-B0"]).run()
    place = state.result_folder(NAME) / "estimate"
    wait_until_over(place)
    ((_, seconds),) = read_estimates(place).items()
    assert seconds > 0
    page.run()
    assert any("on this machine" in caption.value for caption in page.caption)


def test_progress_of_a_process_that_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"state": "running", "process": {"pid": 1, "started": "never", "host": "nowhere"}}')
    assert read_progress(tmp_path).state == "failed"
    assert read_progress(tmp_path / "nothing").state == "idle"


def test_requests_become_the_command_that_does_them() -> None:
    offered = {**classify_choice.CLASSIFIERS, **classify_choice.PIXEL_CLASSIFIERS}
    requests = [ClassifyRequest.parse(method | {"epochs": 7}, "test") for method in offered.values()]
    words = arguments_of(Path("/sets/a"), requests, "b.npz", "cpu")
    assert words[:3] == ["/sets/a", "--device", "cpu"]
    assert [words[place + 1] for place, word in enumerate(words) if word == "-k"] == ["1", "3"]
    assert words[words.index("--epochs") + 1] == "7"
    assert words.count("--method") == 5


def test_set_without_a_split_is_explained_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFUNCTA_SETS", str(tmp_path / "sets"))
    write_set(tmp_path / "sets" / "half", np.ones((3, 4), np.float32), [0, 1, 0])
    page = visit()
    assert "no val split" in page.error[0].value
    assert [box.key for box in page.selectbox if box.key == "classify_set"]  # another one can be chosen

"""Figures and pictures: honest pixels, magma's ends, planes turned as radiologists look at them, axes that stay."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from medfuncta_core.config import Kind
from medfuncta_core.figures import (
    MAGMA,
    OKABE_ITO,
    curve_data,
    cut_planes,
    ecg_figure,
    encode_png,
    error_values,
    loss_curve,
    psnr_curve,
    thumbnail,
    to_magma,
    to_pixels,
    turn_planes,
)
from medfuncta_core.figures.pictures import HIDDEN_COLOUR
from medfuncta_core.signals import Signal


def layout(figure: go.Figure) -> Any:
    """The figure's layout; plotly makes its attributes as they are asked for."""
    return figure.layout


def luminance(colour: str) -> float:
    """Relative luminance of a `#rrggbb` colour (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_picture_has_one_pixel_a_point_and_the_whole_range_as_window(image_values: np.ndarray) -> None:
    png = Image.open(io.BytesIO(encode_png(to_pixels(image_values))))
    assert png.size == (6, 8)  # width, height
    assert png.mode == "L"
    np.testing.assert_array_equal(np.asarray(png), np.rint(image_values[..., 0] * 255))


def test_picture_of_colours_stays_coloured_and_two_channels_become_grey() -> None:
    colours = np.random.default_rng(0).random((3, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_pixels(colours), np.rint(colours * 255))
    grey = to_pixels(colours[..., :2])
    assert (grey[..., 0] == np.rint(colours[..., :2].mean(-1) * 255)).all()
    assert (grey[..., :1] == grey).all()


def test_hidden_points_have_a_colour_no_grey_has(image_values: np.ndarray) -> None:
    hidden = np.zeros((8, 6), dtype=bool)
    hidden[2, 5] = True
    pixels = to_pixels(image_values, hidden)
    assert (pixels[2, 5] == HIDDEN_COLOUR).all()
    assert (pixels[~hidden] == to_pixels(image_values)[~hidden]).all()


def test_magma_runs_from_black_at_zero_to_its_brightest_at_the_limit() -> None:
    pixels = to_magma(np.array([[0, 0.1, 0.2, 0.9]], np.float32), 0.2)
    as_hex = ["#" + bytes(pixel).hex() for pixel in pixels[0]]
    assert as_hex[0] == MAGMA[0]
    assert as_hex[2] == as_hex[3] == MAGMA[-1]
    lights = [luminance(colour) for colour in MAGMA]
    assert lights == sorted(lights)


def test_error_is_the_mean_over_channels_of_the_absolute_difference() -> None:
    signal, reconstruction = np.array([[[0.2, 0.8]]], np.float32), np.array([[[0.5, 0.7]]], np.float32)
    assert error_values(signal, reconstruction)[0, 0] == pytest.approx(0.2)


def test_planes_are_axial_coronal_sagittal_with_letters_and_millimetres(volume_signal: Signal) -> None:
    values = np.zeros((4, 5, 6, 1), np.float32)
    values[3, 4, 5] = 1  # the corner at the right, the front and the head
    planes = turn_planes([values[3], values[:, 4], values[:, :, 5]], (4, 5, 6), volume_signal.affine)
    assert [plane.name for plane in planes] == ["Axial", "Coronal", "Sagittal"]
    assert [plane.letters for plane in planes] == [("A", "P", "R", "L"), ("S", "I", "R", "L"), ("S", "I", "A", "P")]
    assert [plane.values.shape[:2] for plane in planes] == [(5, 4), (6, 4), (6, 5)]
    assert all(plane.values[0, 0, 0] == 1 for plane in planes)  # top left in each of them
    assert [(plane.height_mm, plane.width_mm) for plane in planes] == [(7.5, 4), (12, 4), (12, 7.5)]


def test_planes_look_the_same_however_the_file_stores_its_axes(volume_values: np.ndarray) -> None:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    shape = (5, 5, 7)  # odd: the middle plane stays the middle plane when an axis is flipped
    values = np.random.default_rng(1).random((*shape, 1)).astype(np.float32)
    expected = turn_planes(cut_planes(values), shape, affine)
    flipped = values.transpose(2, 0, 1, 3)[:, ::-1]  # head first, then left instead of right, then front
    turned = np.zeros((4, 4))
    turned[2, 0], turned[0, 1], turned[1, 2], turned[3, 3] = 2.0, -1.0, 1.5, 1.0
    turned[0, 3] = 4.0
    for plane, same in zip(turn_planes(cut_planes(flipped), flipped.shape[:3], turned), expected, strict=True):
        np.testing.assert_array_equal(plane.values, same.values)
        assert (plane.name, plane.letters, plane.place) == (same.name, same.letters, same.place)
        assert (plane.height_mm, plane.width_mm) == pytest.approx((same.height_mm, same.width_mm))


def test_planes_without_affine_keep_array_order_and_carry_no_letters(volume_values: np.ndarray) -> None:
    planes = turn_planes(cut_planes(volume_values), (4, 5, 6), spacing=(1.0, 2.0, 3.0))
    np.testing.assert_array_equal(planes[0].values, volume_values[2])
    assert planes[0].letters == ("", "", "", "")
    assert (planes[0].height_mm, planes[0].width_mm) == (10, 18)


@pytest.mark.parametrize("kind", ["ecg", "image", "volume"])
def test_thumbnail_is_a_picture_a_browser_opens(kind: Kind, request: pytest.FixtureRequest) -> None:
    address = thumbnail(request.getfixturevalue(f"{kind}_values"), kind)
    assert address.startswith("data:image/svg+xml;base64," if kind == "ecg" else "data:image/png;base64,")


def test_curves_keep_their_step_axis_and_use_whole_decades() -> None:
    short = loss_curve([0, 1], [0.05, 0.02], 20)
    longer = loss_curve([0, 1, 2], [0.05, 0.02, 0.004], 20)
    assert layout(short).xaxis.range == layout(longer).xaxis.range
    assert layout(short).yaxis.type == "log"
    assert list(layout(longer).yaxis.range) == pytest.approx([-3.12, -0.88])
    psnr = psnr_curve([0, 1, 2], [12.3, 21.0, math.inf], 20, selected=1)
    assert list(layout(psnr).yaxis.range) == pytest.approx([9.1, 25.9])
    assert "dB" in layout(psnr).title.text
    assert json.loads(str(psnr.to_json()))["data"][0]["line"]["dash"] == "solid"


def test_fit_curve_as_data_rings_the_shown_step_and_leaves_gaps_where_nothing_is_finite() -> None:
    data = curve_data(psnr_curve([0, 1, 2], [12.3, 21.0, math.inf], 20, selected=1))
    (trace,) = data["traces"]
    assert trace["y"] == [12.3, 21.0, None]
    assert data["rings"] == [{"x": 1, "y": 21.0, "color": trace["color"]}]
    assert (data["marked"], data["legend"], data["log"]) == (1, False, False)
    assert curve_data(psnr_curve([0, 1], [12.3, math.inf], 20, selected=1))["rings"] == []
    assert curve_data(loss_curve([0, 1], [0.05, 0.02], 20))["log"]


def test_ecg_has_paper_seconds_and_marks_what_was_hidden(ecg_signal: Signal) -> None:
    mask = np.ones(16, dtype=bool)
    mask[4:7] = False
    figure = ecg_figure(ecg_signal, ecg_signal.values, dense=np.repeat(ecg_signal.values, 2, axis=0), mask=mask)
    data: Any = figure.data
    trace, reconstruction, error = data
    assert trace.x[-1] == reconstruction.x[-1] == pytest.approx(15 * 0.008)
    assert len(reconstruction.x) == 32
    assert trace.line.dash != reconstruction.line.dash
    assert max(error.y) == 0
    assert layout(figure).xaxis.dtick == 0.2
    assert layout(figure).xaxis.minor.dtick == 0.04
    assert layout(figure).xaxis2.title.text == "Time (s)"
    assert {(shape.x0, shape.x1) for shape in layout(figure).shapes} == {(trace.x[3], trace.x[7])}


def test_ecg_in_millivolts_has_them_on_its_axis(ecg_values: np.ndarray) -> None:
    signal = Signal(ecg_values, kind="ecg", name="a", value_range=(-1.0, 3.0), unit="mV")
    figure = ecg_figure(signal, signal.values)
    data: Any = figure.data
    assert layout(figure).yaxis.title.text == "Voltage (mV)"
    assert layout(figure).yaxis.dtick == 0.5
    assert max(data[0].y) == pytest.approx(-1 + 4 * float(ecg_values.max()))
    assert layout(figure).xaxis2.title.text == "Sample"


@pytest.mark.parametrize("background", ["#ffffff", "#020304"])
def test_trace_colours_stand_out_on_light_and_dark(background: str) -> None:
    for colour in OKABE_ITO[:2]:
        light, dark = sorted([luminance(colour), luminance(background)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3

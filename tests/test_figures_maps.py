"""What the map sends to the browser and gets back, colours of classes, frames and films."""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from medfuncta_core.figures import (
    CLASS_COLOURS,
    class_colour,
    colour_classes,
    colour_column,
    components_figure,
    contact_sheet,
    frame_map,
    pack_map,
    path_quality,
    read_selection,
    render_frame,
    spectrum_figure,
    to_gif,
    to_mp4,
)


def test_map_is_packed_as_header_positions_and_codes() -> None:
    coords = np.array([[0, 0], [4, 1], [2, 2]], dtype=np.float32)
    packed = pack_map(coords, colour_classes(np.array([1, 0, -1]), ("a", "b")), name="m", label="a map")
    length = struct.unpack("<I", packed[:4])[0]
    header = json.loads(packed[4 : 4 + length])
    assert (header["count"], header["dims"], len(packed)) == (3, 2, 4 + length + 3 * 9)
    assert length % 4 == 0  # the positions that follow are read as 32-bit numbers
    positions = np.frombuffer(packed, "<f4", 6, 4 + length).reshape(3, 2)
    assert positions.tolist() == [[-1, -0.5], [1, 0], [0, 0.5]]  # the wider axis fills -1 to 1, the other keeps its proportion
    assert list(packed[-3:]) == [1, 0, 255]
    assert header["legend"] == [
        {"name": "a", "code": 0, "count": 1},
        {"name": "b", "code": 1, "count": 1},
        {"name": "no class", "code": 255, "count": 1},
    ]
    assert len(header["palette"]) == 256
    assert header["palette"][:2] == list(CLASS_COLOURS[:2])


def test_recolouring_keeps_the_identity_of_the_points() -> None:
    coords = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    headers = []
    for labels in (np.zeros(9, np.int64), np.arange(9)):
        packed = pack_map(coords, colour_classes(labels, ()), name="m", label="")
        headers.append(json.loads(packed[4 : 4 + struct.unpack("<I", packed[:4])[0]]))
    assert headers[0]["points"] == headers[1]["points"]
    assert headers[0]["colouring"] != headers[1]["colouring"]


def test_selection_bits_are_rows_lowest_first() -> None:
    assert read_selection(base64.b64encode(bytes([0b00000101, 0b00000010])).decode(), 10).tolist() == [0, 2, 9]
    assert read_selection(base64.b64encode(bytes([0b11111111])).decode(), 3).tolist() == [0, 1, 2]


def test_a_class_has_one_colour_and_none_is_grey() -> None:
    assert class_colour(2) == CLASS_COLOURS[2] == class_colour(2 + len(CLASS_COLOURS))
    assert class_colour(-1) not in CLASS_COLOURS


def test_columns_become_groups_or_a_scale() -> None:
    splits = colour_column(np.array(["train", "test", "train", None], dtype=object), "split")
    assert splits.groups == (("train", 0, 2), ("test", 1, 1), ("unknown", 255, 1))
    assert splits.codes.tolist() == [0, 1, 0, 255]
    many = colour_column(np.array([f"patient {i // 2}" for i in range(80)], dtype=object), "patient")
    assert many.groups[-1][0] == "16 others"
    psnr = colour_column(np.array([20.0, 30.0, 25.0, np.nan]), "PSNR (dB)")
    assert psnr.scale is not None
    assert psnr.codes[0] == 0
    assert psnr.codes[1] == 254
    assert psnr.codes[3] == 255
    assert psnr.groups == (("unknown", 255, 1),)
    assert colour_column(np.array([0, 1, 1, 0]), "left").scale is None


def test_frame_keeps_one_scale_for_all_axes() -> None:
    frame = frame_map(np.array([[10.0, 0], [30, 4]]))
    assert frame.place(np.array([[20.0, 2], [40, 2]])).tolist() == [[0, 0], [2, 0]]


@pytest.mark.parametrize(("kind", "shape"), [("ecg", (16, 1)), ("image", (8, 6, 3)), ("volume", (4, 5, 6, 1))])
def test_every_kind_becomes_a_frame(kind: str, shape: tuple[int, ...]) -> None:
    frame = render_frame(np.random.default_rng(0).uniform(size=shape).astype(np.float32), kind, 24)  # pyright: ignore[reportArgumentType]
    widths = {"ecg": 38, "image": 18, "volume": 20 + 4 + 16 + 4 + 16}
    assert frame.shape[:2] == (24, widths[kind])


def test_films_hold_every_frame() -> None:
    frames = [np.full((17, 24, 3), level, dtype=np.uint8) for level in (0, 120, 240)]
    gif = Image.open(io.BytesIO(to_gif(frames, 10)))
    assert (gif.n_frames, gif.size, gif.info["duration"]) == (3, (24, 17), 100)  # pyright: ignore[reportAttributeAccessIssue]
    sheet = Image.open(io.BytesIO(contact_sheet(frames, columns=2)))
    assert sheet.size == (24 * 2 + 4, 17 * 2 + 4)


def test_mp4_is_read_back_by_ffmpeg(tmp_path: object) -> None:
    frames = [np.full((17, 24, 3), level, dtype=np.uint8) for level in (0, 120, 240)]
    file = f"{tmp_path}/film.mp4"
    with open(file, "wb") as out:
        out.write(to_mp4(frames, 10))
    count, seconds = imageio_ffmpeg.count_frames_and_secs(file)
    assert count == 3
    assert seconds == pytest.approx(0.3, abs=0.05)


def test_components_are_marked_where_they_lie_on_a_log_axis() -> None:
    """Words on a log axis are placed by the logarithm of their number, lines by the number itself."""
    spectrum: Any = spectrum_figure(np.array([4.0, 3.0, 2.0, 1.0]), {"90%: 3": 3})
    assert list(spectrum.data[0].y) == [40, 70, 90, 100]
    assert spectrum.layout.annotations[0].x == pytest.approx(np.log10(3))
    assert spectrum.layout.shapes[0].x0 == 3
    trial: Any = components_figure([1, 2, 4], [20.0, 29.0, 29.9], 30.0, 0.99, 4)
    assert trial.layout.shapes[0].y0 == pytest.approx(29.7)
    assert trial.layout.shapes[1].x0 == 4
    assert trial.layout.annotations[1].text == "4"
    assert list(trial.layout.xaxis.tickvals) == [1, 2, 4]


def test_curves_that_belong_together_share_a_colour() -> None:
    names = ("to A", "fade to A", "to B", "fade to B")
    figure: Any = path_quality([0, 1], {name: [1.0, None] for name in names}, per_colour=2)
    drawn = figure.data
    assert [line.line.color for line in drawn[::2]] == [line.line.color for line in drawn[1::2]]
    assert len({line.line.color for line in drawn}) == 2
    assert [line.line.dash for line in drawn] == ["solid", "dash"] * 2

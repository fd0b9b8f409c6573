"""Pictures -> films that a slide or a browser plays: GIF everywhere, MP4 smaller and with all colours."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def to_gif(frames: Sequence[UInt8[np.ndarray, "h w 3"]], frames_per_second: int = 12) -> bytes:
    """An endless GIF of pictures of one size, with a palette of 256 colours each."""
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / frames_per_second), loop=0)
    return buffer.getvalue()


def to_mp4(frames: Sequence[UInt8[np.ndarray, "h w 3"]], frames_per_second: int = 12) -> bytes:
    """An H.264 film of pictures of one size, written by the ffmpeg that comes with imageio-ffmpeg.

    The format wants even sides, so an odd last row or column is repeated rather than cut.
    """
    import imageio_ffmpeg  # brings a program of 30 MB, found when it is first needed

    height, width = frames[0].shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        shape = (width + width % 2, height + height % 2)
        writer = imageio_ffmpeg.write_frames(str(file), shape, fps=frames_per_second, quality=8, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(np.pad(frame, even, mode="edge")))
        writer.close()
        return file.read_bytes()

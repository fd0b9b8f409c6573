"""TensorBoard event files of a run, on request: curves of every step and validation, and the fixed signals as pictures.

They are an extra copy in `tensorboard/` of what `metrics.jsonl` and `samples/` hold. Every process that trains the run adds a
file of its own; steps that a resumed run repeats are marked, so that TensorBoard drops what it had of them.
"""

from __future__ import annotations

import io
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter

# protobuf makes these classes while it is imported, where no type checker sees them.
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from medfuncta_core.errors import TrainingError
from medfuncta_core.learning import Recovery, TrainEvent, TrainStep
from medfuncta_core.runs.samples import Samples, read_samples

FOLDER = "tensorboard"
_STEP = {"loss": "loss", "first_loss": "loss_before_inner_steps", "psnr": "psnr", "gradient_norm": "gradient_norm"}
_STEP |= {"lr": "learning_rate", "seconds": "seconds"}


class EventLog:
    """Writes event files for the one process that trains a run; it writes at once, in the thread that trains.

    Args:
        run: The run's folder.
        step: Where the run is: what older files have after it is dropped.

    Raises:
        TrainingError: when they cannot be written, as from every method.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._run = run
        try:
            (run / FOLDER).mkdir(exist_ok=True)
            # Named by second and machine; the rest tells processes of the same second apart.
            self._writer = EventsWriter(str(run / FOLDER / "events"), f".{os.getpid()}.{time.monotonic_ns()}")
        except OSError as error:
            raise _cannot_write(run, error) from error
        self.rewind(step)

    def rewind(self, step: int) -> None:
        """Steps after this one come again."""
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)), flush=True)

    def note(self, event: TrainEvent) -> None:
        """Take in an event; a validation's samples must have been kept before."""
        if isinstance(event, Recovery):
            self.rewind(event.restored_step)
        elif isinstance(event, TrainStep):
            self._scalars(event.step, {f"train/{tag}": getattr(event, name) for name, tag in _STEP.items()})
        else:
            self._scalars(event.step, {f"validation/{name}": getattr(event, name) for name in ("psnr", "ssim", "mse")})
            self.show(event.step)

    def show(self, step: int) -> None:
        """The samples of a step, where there are any that are pictures; what was written so far reaches the disk."""
        samples = read_samples(self._run, step)
        values = [] if samples is None or samples.kind == "ecg" else [_picture(samples)]
        self._write(Event(step=step, summary=Summary(value=values)), flush=True)

    def close(self) -> None:
        """Nothing comes any more."""
        with suppress(OSError, ValueError):  # what could not be written has been told already
            self._writer.close()

    def _scalars(self, step: int, numbers: dict[str, float]) -> None:
        finite = {tag: number for tag, number in numbers.items() if math.isfinite(number)}
        values = [Summary.Value(tag=tag, simple_value=number) for tag, number in finite.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event, *, flush: bool = False) -> None:
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
            if flush:
                self._writer.flush()
        except OSError as error:
            raise _cannot_write(self._run, error) from error


def _cannot_write(run: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{run / FOLDER}: cannot be written ({error.strerror}); free some space, then continue with --resume")


def _picture(samples: Samples) -> Summary.Value:
    """One row a signal: input, learned initialisation, reconstruction."""
    rows = []
    for given, found in zip(samples.inputs, samples.reconstructions, strict=True):
        rows.append(np.concatenate([given, samples.initial, found], axis=1))
    levels = np.rint(np.concatenate(rows) * 255).astype(np.uint8)
    height, width = levels.shape[:2]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_encode(levels))
    return Summary.Value(tag="samples/input_start_reconstruction", image=image)


def _encode(levels: UInt8[np.ndarray, "h w c"]) -> bytes:
    colours = levels if levels.shape[-1] == 3 else np.repeat(levels[..., :1], 3, axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, format="PNG")
    return buffer.getvalue()

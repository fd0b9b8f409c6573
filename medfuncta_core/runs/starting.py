"""From a request, or a run that ended early, to training: opens the data, and tells in `status.json` what it is at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from medfuncta_core.config import Preset
from medfuncta_core.errors import MedFunctaError, TrainingError
from medfuncta_core.learning import ALONE, Ranks, TrainEvent
from medfuncta_core.runs.folder import RunConfig, RunFolder
from medfuncta_core.runs.reporting import reason_of
from medfuncta_core.runs.request import RunRequest, read_request
from medfuncta_core.runs.status import kept_values, read_status, write_status
from medfuncta_core.runs.training import train_run
from medfuncta_core.signals import DataSet, load_data_set


def start_run(
    folder: RunFolder, request: RunRequest, *, stop: Callable[[], bool] = lambda: False, ranks: Ranks = ALONE
) -> Iterator[TrainEvent]:
    """Train a new run, as `train_run` does; a request that cannot be met leaves no folder behind.

    Args:
        folder: Without a run yet.
        request: What to train.
        stop: As for `train_run`.
        ranks: As for `train_run`.

    Raises:
        MedFunctaError: when the folder holds a run, the request cannot be met, or as for `train_run`.
    """
    if ranks.leads and (folder.opened or read_request(folder) is not None):
        raise TrainingError(f"{folder.path}: already holds a run; continue it with --resume, or choose another folder")
    preset, train_set, val_set = _open_in_turn(request, ranks)
    config = request.describe(preset, train_set, folder.path.resolve().name)
    yield from train_run(folder, config, train_set, val_set, device=request.device, stop=stop, ranks=ranks, request=request)


def continue_run(
    folder: RunFolder,
    *,
    data: str | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Iterator[TrainEvent]:
    """Train a run that waits, or that ended before its last step.

    Args:
        folder: Of the run, for which `take_run` was called.
        data: Where its data is now, when it was moved.
        device: auto, cpu or cuda.
        stop: As for `train_run`.
        ranks: As for `train_run`.

    Raises:
        MedFunctaError: when its data cannot be opened, which `status.json` says then, or as for `train_run`.
    """
    request, kept = read_request(folder), folder.read_config() if folder.opened else None
    try:
        config, train_set, val_set = _reopen(folder, kept, request, data, ranks)
    except Exception as error:
        if ranks.leads:
            with suppress(MedFunctaError):
                write_status(folder, "failed", reason=reason_of(error), **kept_values(read_status(folder)))
        raise
    yield from train_run(folder, config, train_set, val_set, resume=kept is not None, device=device, stop=stop, ranks=ranks)


def _reopen(
    folder: RunFolder, kept: RunConfig | None, request: RunRequest | None, data: str | None, ranks: Ranks
) -> tuple[RunConfig, DataSet, DataSet]:
    if kept is not None:
        train_set, val_set = (load_data_set(data or kept.source, split, spec=kept.signal) for split in ("train", "val"))
        return kept, train_set, val_set
    assert request is not None  # a folder with neither is no run
    preset, train_set, val_set = _open_in_turn(request if data is None else request.model_copy(update={"data": data}), ranks)
    return request.describe(preset, train_set, folder.path.resolve().name), train_set, val_set


def _open_in_turn(request: RunRequest, ranks: Ranks) -> tuple[Preset, DataSet, DataSet]:
    """Open the data, the leading rank first: what it downloads is there for the others."""
    opened = request.open() if ranks.leads else None
    ranks.highest(0)
    return opened or request.open()

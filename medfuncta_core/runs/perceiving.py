"""LPIPS of a sweep's finished run, which training itself does not measure: Figure 4 asks for it."""

from __future__ import annotations

from contextlib import suppress

import torch

from medfuncta_core import metrics
from medfuncta_core.errors import MedFunctaError
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning import TrainingRun, learned_field
from medfuncta_core.learning.validating import VALIDATION_BATCH
from medfuncta_core.runs.folder import RunFolder
from medfuncta_core.runs.request import read_request


def perceived(folder: RunFolder, run: TrainingRun) -> dict[str, float]:
    """`lpips` of the best weights on the validation signals; nothing for a run of no sweep, and where it is not defined.

    Args:
        folder: Of the run.
        run: Finished, its state saved.
    """
    request = read_request(folder)
    if request is None or not request.sweep or run.val.kind != "image" or min(run.val.shape) < metrics.LPIPS_MIN_SIDE:
        return {}
    signals, found = run.val.take(min(run.meta.validate_signals, len(run.val))), []
    with suppress(MedFunctaError):  # fits that diverge have no LPIPS; the run is done all the same
        field, _ = learned_field(run)
        fitter = Fitter(field, run.fit, device=field.first_weight.device.type)
        for first in range(0, len(signals), VALIDATION_BATCH):
            values = torch.from_numpy(signals.batch(slice(first, first + VALIDATION_BATCH)))
            distances = metrics.lpips(fitter.fit_batch(values).reconstructions, values)
            if distances is None:
                return {}
            found.append(distances)
        return {"lpips": float(torch.cat(found).mean())}
    return {}

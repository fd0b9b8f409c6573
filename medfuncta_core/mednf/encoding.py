"""From a data set to a MedNF set: every signal fitted once, stored as it is done, and gone on with after a kill at any moment.

Batches are fixed by the plan. Each one's result is a small file until its shard is complete; a shard is written whole; the table
is written when all shards are there. So a set that was killed on the way equals, bit for bit, the one that never was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save

from medfuncta_core import metrics
from medfuncta_core.atomic import write_atomically
from medfuncta_core.checkpoint import Checkpoint, load_checkpoint
from medfuncta_core.checkpoint.descriptions import WEIGHTS_FILE
from medfuncta_core.checkpoint.latents import read_tensors
from medfuncta_core.config import FitConfig
from medfuncta_core.errors import CheckpointError, SetError, SignalError
from medfuncta_core.fitting import Fitter
from medfuncta_core.learning.validating import MAX_PSNR
from medfuncta_core.mednf.card import make_set_card
from medfuncta_core.mednf.choosing import choose_batch_size
from medfuncta_core.mednf.describing import describe_set
from medfuncta_core.mednf.metadata import CARD_FILE, MODEL_FOLDER, PLAN_FOLDER, write_metadata
from medfuncta_core.mednf.networks import copy_model, find_network
from medfuncta_core.mednf.planning import EncodePlan, EncodeRequest, Selection, select_signals, settle_plan, tidy
from medfuncta_core.mednf.ranks import current_rank, joined
from medfuncta_core.mednf.registry import data_of
from medfuncta_core.mednf.shards import DTYPES, read_shard, shard_name, write_shard
from medfuncta_core.signals.sources import hash_file

if TYPE_CHECKING:
    from medfuncta_core.mednf.ranks import Rank


@dataclass(frozen=True)
class EncodeStep:
    """Where an encoding is, after a batch.

    Args:
        done: Signals fitted, those of earlier calls included; of this process's share.
        total: Signals of this process's share.
        shard: Shards complete, of its share.
        shards: Shards of its share.
        psnr: Mean of the batch, dB; None when nothing was fitted.
        seconds: Since this call began.
        per_second: Signals fitted a second, in this call; 0 before the first batch.
    """

    done: int
    total: int
    shard: int
    shards: int
    psnr: float | None
    seconds: float
    per_second: float

    @property
    def eta_seconds(self) -> float | None:
        """What is left at this speed; None before the first batch."""
        return (self.total - self.done) / self.per_second if self.per_second else None


def encode(
    checkpoint: str | Path,
    data: str | Path,
    out: str | Path,
    request: EncodeRequest | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    cache_dir: str | Path | None = None,
) -> Iterator[EncodeStep]:
    """Fit every signal of a data set and store its latent, PSNR and SSIM.

    Under torchrun, process r takes shards r, r + world, …; the first one writes the table when all are done.
    Qualities are those of the latents as stored, after rounding to the set's number format.

    Args:
        checkpoint: Directory of the shared network.
        data: As for `load_data_set`, or the name of one of the paper's sets, such as PneumoniaNF.
        out: Folder of the set; new, or with `resume` one that was begun.
        request: Which signals, how stored; everything as float16 when None.
        resume: Go on with what was begun; a finished set is left alone.
        device: auto, cpu or cuda.
        cache_dir: Where MedMNIST's files are kept, as for `load_data_set`.

    Yields:
        One step a batch, the first for what earlier calls have done; after the last one the set is complete.

    Raises:
        SetError: when the folder holds another set, or cannot be written.
        DataSetError, SignalError, CheckpointError: when data or network cannot be used, or a fit diverges; naming which.
    """
    directory, request, rank = Path(out), request or EncodeRequest(), current_rank()
    with joined(rank) as meet:
        fitter = _open_fitter(Path(checkpoint), request, device)
        assert fitter.checkpoint is not None
        selection = select_signals(data_of(str(data)), request, fitter.checkpoint.config.signal, cache_dir)
        asked = make_plan(fitter.checkpoint, fitter, selection, request, directory)
        if request.model == "refer":
            find_network(directory, asked.checkpoint, asked.checkpoint_sha256)  # before the work, not after it
        plan = settle_plan(directory, asked, resume) if rank.rank == 0 else None
        meet()
        if rank.rank > 0:
            plan = settle_plan(directory, asked, resume=True)
        if plan is None:
            yield EncodeStep(len(selection), len(selection), 0, 0, None, 0.0, 0.0)
            return
        if plan.request.model == "copy":
            copy_model(Path(checkpoint), directory / MODEL_FOLDER)
        yield from _fit_shards(fitter, selection, plan, directory, rank)
        meet()
        if rank.rank == 0:
            _finish(fitter.checkpoint, selection, plan, directory)


def make_plan(
    checkpoint: Checkpoint, fitter: Fitter, selection: Selection, request: EncodeRequest, directory: Path
) -> EncodePlan:
    """What a request means for these data, this network and this machine's memory.

    Raises:
        CheckpointError: when the data's signals are of another kind than the network's.
    """
    assert checkpoint.path is not None
    first, config = selection.parts[0], fitter.field.config
    if (len(first.shape), first.channels) != (config.coord_dim, config.channels):
        raise CheckpointError(
            f"{first.name} has signals of {len(first.shape)} axes and {first.channels} channels, this checkpoint fits "
            f"{config.coord_dim} axes and {config.channels} channels; choose a checkpoint of its kind"
        )
    return EncodePlan(
        request=request,
        name=request.name or directory.resolve().name,
        splits=tuple(part.split for part in selection.parts),
        counts=tuple(len(chosen) for chosen in selection.indices),
        batch_size=request.batch_size or choose_batch_size(config, first.shape, fitter.device.type),
        fit_steps=fitter.config.steps,
        data=first.info(),
        data_sha256=tuple(part.sha256 for part in selection.parts),
        checkpoint=checkpoint.config.name,
        checkpoint_sha256=hash_file(checkpoint.path / WEIGHTS_FILE),
    )


def _open_fitter(checkpoint: Path, request: EncodeRequest, device: str) -> Fitter:
    loaded = load_checkpoint(checkpoint)
    settings = loaded.config.fit.model_dump() | {"method": request.method}
    settings |= {} if request.fit_steps is None else {"steps": request.fit_steps}
    return Fitter(loaded, FitConfig.parse(settings, "fit_steps"), device=device)


def _fit_shards(fitter: Fitter, selection: Selection, plan: EncodePlan, directory: Path, rank: Rank) -> Iterator[EncodeStep]:
    own = range(rank.rank, plan.shards, rank.world)
    total = sum(len(plan.shard_rows(shard)) for shard in own)
    work, start, fitted = directory / PLAN_FOLDER, time.perf_counter(), 0
    finished = [shard for shard in own if _is_finished(directory, plan, shard)]
    done = sum(len(plan.shard_rows(shard)) for shard in finished)
    complete, told = len(finished), False

    def step(psnr: float | None) -> EncodeStep:
        seconds = time.perf_counter() - start
        return EncodeStep(done, total, complete, len(own), psnr, seconds, fitted / seconds if fitted else 0.0)

    for shard in own:
        if shard in finished:
            continue
        pieces = []
        for number, rows in enumerate(plan.batches(shard)):
            piece = work / f"piece-{shard:05d}-{number:05d}.safetensors"
            if (found := _read_piece(piece)) is None:
                if not told:
                    yield step(None)
                    told = True
                found = _fit_rows(fitter, selection, rows, DTYPES[plan.request.dtype])
                write_atomically(piece, save(found), SetError)
                fitted += len(rows)
                done += len(rows)
                yield step(float(found["psnr"].mean()))
            else:
                done += len(rows)
            pieces.append(piece)
        _write_shard(directory, plan, shard, pieces)
        complete += 1
    yield step(None)


def _fit_rows(fitter: Fitter, selection: Selection, rows: range, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Latents as they are stored, and how well these very numbers decode."""
    values = torch.from_numpy(selection.values(rows))
    try:
        fits = fitter.fit_batch(values)
    except SignalError as error:
        raise _name_culprit(fitter, selection, rows, values) from error
    latents = fits.latents.numpy().astype(dtype)
    mse, ssim = fits.mse, fits.ssim
    if dtype != np.float32:
        decoded = torch.from_numpy(fitter.decode_batch(latents.astype(np.float32), values.shape[1:-1]))
        mse, ssim = metrics.mse(decoded, values), metrics.ssim(decoded, values)
    psnr = (-10 * torch.log10(mse)).clamp(max=MAX_PSNR)
    return {"latents": latents, "mse": mse.numpy(), "psnr": psnr.numpy(), "ssim": ssim.numpy()}


def _name_culprit(fitter: Fitter, selection: Selection, rows: range, values: torch.Tensor) -> SignalError:
    for row, value in zip(rows, values, strict=True):
        try:
            fitter.fit_batch(value[None])
        except SignalError as error:
            (part, indices), *_ = selection.locate(range(row, row + 1))
            return SignalError(f"{part.name}: signal {indices[0]} of {part.split}: {error}")
    return SignalError("a fit of a batch diverged, but none of its signals alone; encode with a smaller --batch-size")


def _read_piece(piece: Path) -> dict[str, np.ndarray] | None:
    try:
        return read_tensors(piece)[0]
    except CheckpointError:
        return None


def _quality_file(directory: Path, shard: int) -> Path:
    return directory / PLAN_FOLDER / f"quality-{shard:05d}.safetensors"


def _is_finished(directory: Path, plan: EncodePlan, shard: int) -> bool:
    """Whether a shard and the qualities of its rows are there, whole."""
    try:
        header = read_shard(directory / shard_name(shard, plan.shards))
    except SetError:
        return False
    return _read_piece(_quality_file(directory, shard)) is not None and header.digest() == header.sha256


def _write_shard(directory: Path, plan: EncodePlan, shard: int, pieces: list[Path]) -> None:
    """Join a shard's pieces; the qualities first, as the shard says that both are there."""
    parts = [read_tensors(piece)[0] for piece in pieces]
    joined_parts = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    latents = joined_parts.pop("latents")
    write_atomically(_quality_file(directory, shard), save(joined_parts), SetError)
    write_shard(directory / shard_name(shard, plan.shards), latents)
    for piece in pieces:
        piece.unlink(missing_ok=True)


def _finish(checkpoint: Checkpoint, selection: Selection, plan: EncodePlan, directory: Path) -> None:
    """Card and table of a set whose shards are all there; the table last, as it makes a set of the folder."""
    qualities = [read_tensors(_quality_file(directory, shard))[0] for shard in range(plan.shards)]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in qualities]) for name in ("mse", "psnr", "ssim")}
    info, described = describe_set(checkpoint, selection, plan)
    columns = described | columns
    write_atomically(directory / CARD_FILE, make_set_card(info, columns, plan.request.model == "copy").encode(), SetError)
    write_metadata(directory, info, columns)
    tidy(directory)

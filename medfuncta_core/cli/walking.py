"""`interpolate` and `statistics`: walking between two latents, and what a set's latents are like."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuncta_core.cli.app import CheckpointArgument, Device, DeviceOption, JsonOption, app, emit, format_metric, parse_shape
from medfuncta_core.cli.sets import SetArgument
from medfuncta_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from medfuncta_core.fitting import Fitter
    from medfuncta_core.mednf import MednfSet
    from medfuncta_core.mednf.morphs import Grids, Morph
    from medfuncta_core.mednf.statistics import Components

ENDINGS = (".gif", ".mp4", ".npz", ".png")
FILM_HEIGHT = 256  # pixels, at least
STILLS = 9  # of a filmstrip


class PathChoice(StrEnum):
    """How to walk from one latent to another."""

    linear = "linear"
    spherical = "spherical"


END_HELP = "latent.npy, a set's row SET#ROW, FILE.safetensors#ROW, or a signal's file, which is fitted."


@app.command()
def interpolate(
    checkpoint: CheckpointArgument,
    first: Annotated[str, typer.Argument(help=END_HELP, metavar="A")],
    last: Annotated[str, typer.Argument(help=END_HELP, metavar="B")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .gif, .mp4, .png (a filmstrip) or .npz (all values).")],
    frames: Annotated[int, typer.Option("--frames", min=2, max=1000, help="Frames, both ends among them.")] = 24,
    path: Annotated[PathChoice, typer.Option("--path", help="The straight line, or the great circle.")] = PathChoice.linear,
    shape: Annotated[str | None, typer.Option("--shape", help="Points per axis; the checkpoint's own if left out.")] = None,
    fade: Annotated[bool, typer.Option("--fade", help="With the cross-fade of the values below, for comparison.")] = False,
    frames_per_second: Annotated[int, typer.Option("--fps", min=1, max=60, help="Frames a second of a film.")] = 12,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Morph one signal into another through their latents, as a film, a filmstrip or numbers."""
    if out.suffix.lower() not in ENDINGS:
        raise typer.BadParameter(
            f"{out.name}: cannot write {out.suffix or 'a file without extension'}; choose {', '.join(ENDINGS)}"
        )
    from medfuncta_core.atomic import write_atomically
    from medfuncta_core.checkpoint import load_checkpoint
    from medfuncta_core.errors import SetError
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.mednf.morphs import Grid, middle_grids
    from medfuncta_core.mednf.paths import angle_between
    from medfuncta_core.metrics import finite_or_none

    fitter = Fitter(load_checkpoint(checkpoint), device=str(device))
    spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
    points = parse_shape(shape) if shape else spec.shape if spec else None
    if points is None:
        raise ConfigError(f"{checkpoint} does not say what shape its signals have; give --shape")
    if len(points) != fitter.field.config.coord_dim:
        raise ConfigError(f"--shape {shape}: this checkpoint's signals have {fitter.field.config.coord_dim} axes; give as many")
    kind = _kind(fitter)
    ends = [_read_end(fitter, end) for end in (first, last)]
    whole = out.suffix.lower() == ".npz"
    morph = _decode(fitter, ends, frames, str(path), (Grid(points),) if whole else middle_grids(kind, points))
    about = {"a": first, "b": last, "path": str(path), "checkpoint": checkpoint.name}
    write_atomically(out, _encode(morph, kind, out.suffix.lower(), about, fade, frames_per_second), SetError)
    report: dict[str, Any] = {"out": str(out), **about, "checkpoint": str(checkpoint), "frames": frames, "shape": list(points)}
    report |= {"angle_degrees": finite_or_none(angle_between(*ends)), "psnr_of_ends": finite_or_none(float(morph.psnr[0, -1]))}
    report |= {
        name: [finite_or_none(float(n)) for n in row] for name, row in zip(("psnr_to_a", "psnr_to_b"), morph.psnr, strict=True)
    }
    emit(report, as_json, [f"wrote {out}: {frames} frames, ends {format_metric(report['psnr_of_ends'], ' dB')} apart"])


def _kind(fitter: Fitter) -> Any:
    from medfuncta_core.config import KIND_OF_AXES

    return KIND_OF_AXES[fitter.field.config.coord_dim]


def _read_end(fitter: Fitter, end: str) -> np.ndarray:
    """A stored latent, or that of a signal's file."""
    from medfuncta_core.checkpoint import is_latent_file
    from medfuncta_core.mednf.mednf_set import find_latent
    from medfuncta_core.signals import read_signal

    latent_dim = fitter.field.config.latent_dim
    if "#" in end or not Path(end).is_file() or (Path(end).suffix == ".npy" and is_latent_file(Path(end), latent_dim)):
        return find_latent(end, latent_dim)
    spec = fitter.checkpoint.config.signal if fitter.checkpoint else None
    return fitter.fit(read_signal(end, spec=spec)).latent


def _decode(fitter: Fitter, ends: list[np.ndarray], frames: int, path: Any, grids: Grids) -> Morph:
    from tqdm import tqdm

    from medfuncta_core.mednf.morphs import compare_with_fade, decode_frames, join_frames
    from medfuncta_core.mednf.paths import even_shares, walk

    shares = even_shares(frames)
    latents = walk(ends[0], ends[1], shares, path)
    batches = []
    with tqdm(total=frames, unit="frame", desc="decoding", disable=None) as bar:
        for batch in decode_frames(fitter, latents, grids):
            bar.update(len(batch.rows))
            batches.append(batch)
    return compare_with_fade(latents, shares, join_frames(batches))


def _encode(morph: Morph, kind: Any, ending: str, about: dict[str, str], fade: bool, per_second: int) -> bytes:
    from medfuncta_core.figures import contact_sheet, film, to_gif, to_mp4
    from medfuncta_core.mednf.morphs import pack_morph

    if ending == ".npz":
        return pack_morph(morph, about)
    tracks = [morph.frames, morph.fade] if fade else [morph.frames]
    if ending == ".png":
        chosen = sorted({round(place * (len(morph.shares) - 1) / (STILLS - 1)) for place in range(STILLS)})
        stills = [film([track], kind, FILM_HEIGHT // 2, only=chosen) for track in tracks]
        return contact_sheet([picture for row in stills for picture in row], len(chosen))
    pictures = film(tracks, kind, FILM_HEIGHT // len(tracks), back=True)
    return to_gif(pictures, per_second) if ending == ".gif" else to_mp4(pictures, per_second)


@app.command()
def statistics(
    latents: SetArgument,
    components: Annotated[
        bool, typer.Option("--components/--no-components", help="Decode from few components too, which takes a while.")
    ] = True,
    share: Annotated[float, typer.Option("--share", min=0.5, max=1, help="Of the PSNR that components are to keep.")] = 0.99,
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """How many dimensions a set's latents really fill, and how many its signals need."""
    from medfuncta_core.mednf import open_set
    from medfuncta_core.mednf.statistics import choose_sample, principal_components

    opened = open_set(latents)
    found, tested = choose_sample(len(opened))
    main = principal_components(opened.latents(found))
    report: dict[str, Any] = {"set": str(latents), "n": len(opened), "latent_dim": opened.latent_dim, "rows_used": main.rows}
    report |= {"effective_dimension": main.effective_dimension, "components_95": main.holding(0.95)}
    report |= {"components_99": main.holding(0.99), "variances": [float(variance) for variance in main.variances]}
    lines = [
        f"{latents}: {len(opened):,} latents of {opened.latent_dim:,}",
        f"effective dimension {main.effective_dimension:.1f}",
    ]
    lines.append(f"95 % of the variance in {report['components_95']:,} components, 99 % in {report['components_99']:,}")
    if components:
        report |= _try_components(opened, main, tested, share, str(device))
        needed = report["components_needed"]
        kept = f"{needed:,} components" if needed else f"more than all {len(main.variances):,} components found"
        lines.append(f"{share:.0%} of the PSNR ({format_metric(report['psnr'], ' dB')}) needs {kept}, on {len(tested)} others")
    emit(report, as_json, lines)


def _try_components(opened: MednfSet, main: Components, tested: np.ndarray, share: float, device: str) -> dict[str, Any]:
    from tqdm import tqdm

    from medfuncta_core.checkpoint import load_checkpoint
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.mednf.statistics import components_needed, try_components

    fitter = Fitter(load_checkpoint(opened.checkpoint_path), device=device)
    steps = []
    psnr = opened.column("psnr")[tested]
    with tqdm(unit="trial", desc="components", disable=None) as bar:
        for step in try_components(fitter, main, opened.latents(tested), psnr, opened.shape, share=share):
            bar.total = step.total
            bar.update(step.done - bar.n)
            steps.append(step)
    steps.sort(key=lambda step: step.count)
    curve = [{"components": step.count, "psnr": step.psnr} for step in steps]
    return {"share": share, "psnr": steps[0].whole, "components_needed": components_needed(steps, share), "curve": curve}

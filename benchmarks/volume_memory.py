"""Peak memory, as the operating system counts it, of a clinical CT on its way to a field and of a field decoded at 256^3.

    python benchmarks/volume_memory.py [--shape 512,512,300] [--decode 256,256,256] [--checkpoint DIR] [--json FILE]

A synthetic chest of the shape asked for is written to a temporary folder as .nii.gz and as a DICOM series. Every task runs in a
process of its own: `VmHWM` after it, less `VmHWM` when the library and the checkpoint were loaded, is what the task added.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import nibabel  # noqa: E402
import numpy as np  # noqa: E402

TASKS = ("nifti", "dicom", "voxels", "whole", "decode")
SPEC = {"kind": "volume", "shape": (32, 32, 32), "normalisation": "quantile", "limits": (0.005, 0.995)}
VOXELS = 100_000


def main(arguments: list[str] | None = None) -> None:
    """Measure every task in its own process and print or write the report."""
    options = parse(arguments)
    if options.task:
        print(json.dumps(run_task(options)))
        return
    report: dict[str, Any] = {
        "shape": options.shape,
        "decoded_shape": options.decode,
        "date": datetime.now(UTC).date().isoformat(),
    }
    report |= {"command": "python benchmarks/volume_memory.py " + " ".join(sys.argv[1:]), "tasks": {}}
    with tempfile.TemporaryDirectory() as folder:
        files = write_chest(Path(folder), tuple(options.shape))
        report["stored_mib"] = float(np.prod(options.shape) * 2 / 2**20)
        report["as_float32_mib"] = 2 * report["stored_mib"]
        for task in TASKS:
            sides = [f"--task={task}", f"--file={files['dicom' if task == 'dicom' else 'nifti']}"]
            shapes = [f"--shape={text(options.shape)}", f"--decode={text(options.decode)}", f"--checkpoint={options.checkpoint}"]
            done = subprocess.run([sys.executable, __file__, *sides, *shapes], capture_output=True, text=True, check=True)
            report["tasks"][task] = json.loads(done.stdout)
            print(f"{task}: {report['tasks'][task]}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    else:
        print(json.dumps(report, indent=2))


def write_chest(folder: Path, shape: tuple[int, ...]) -> dict[str, Path]:
    """A body with lungs and noise in Hounsfield units, slice by slice, as both formats."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*[np.linspace(-1, 1, points) for points in shape[:2]], indexing="ij")
    body = np.where(x**2 + (1.3 * y) ** 2 < 0.8, 40, -1000)
    lungs = np.minimum((np.abs(x) - 0.4) ** 2 + y**2, 1) < 0.09
    volume = np.empty(shape, np.int16)
    for k in range(shape[2]):
        volume[:, :, k] = np.where(lungs & (0.2 < k / shape[2] < 0.8), -850, body) + rng.integers(-20, 20, shape[:2])
    (folder / "series").mkdir()
    for k in range(shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            ExplicitVRLittleEndian,
            CTImageStorage,
            UID(f"1.2.3.{k}"),
        )
        ct = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ct.SOPClassUID, ct.SOPInstanceUID, ct.SeriesInstanceUID, ct.Modality = CTImageStorage, f"1.2.3.{k}", "1.2.3", "CT"
        ct.Rows, ct.Columns, ct.SamplesPerPixel, ct.PhotometricInterpretation = shape[1], shape[0], 1, "MONOCHROME2"
        ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 1
        ct.RescaleSlope, ct.RescaleIntercept, ct.PixelSpacing = 1, 0, [0.7, 0.7]
        ct.ImageOrientationPatient, ct.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 1.2 * k]
        ct.PixelData = volume[:, :, k].T.astype("<i2").tobytes()
        ct.save_as(folder / "series" / f"{k:04}.dcm", enforce_file_format=True)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-0.7, -0.7, 1.2, 1])), folder / "chest.nii.gz")
    return {"nifti": folder / "chest.nii.gz", "dicom": folder / "series"}


def run_task(options: argparse.Namespace) -> dict[str, Any]:
    """One task in this process: MiB it added to the process's peak, the peak itself, and seconds."""
    import scipy.ndimage  # noqa: F401  (what the task would import lazily is not what it needs for the volume)
    import torch  # noqa: F401

    from medfuncta_core.checkpoint import load_checkpoint
    from medfuncta_core.config import SignalSpec
    from medfuncta_core.decoding import decode_chunks
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.grids import sampled_context
    from medfuncta_core.signals import prepare_signal, read_signal
    from medfuncta_core.signals.opening import open_volume
    from medfuncta_core.signals.sampling import sample_voxels

    spec = SignalSpec.model_validate(SPEC)
    fitter = Fitter(load_checkpoint(options.checkpoint), device="cpu")
    before, start, extra = peak_mib(), time.perf_counter(), {}
    if options.task in ("nifti", "dicom"):
        assert read_signal(options.file, spec=spec).shape == (32, 32, 32)
    elif options.task == "voxels":
        sample = sample_voxels(open_volume(options.file), spec, VOXELS)
        steps = fitter.steps(sampled_context(sample.coords, sample.values))
        extra = {"voxels": len(sample.values), "psnr_first": next(steps).psnr, "psnr_last": list(steps)[-1].psnr}
    elif options.task == "whole":  # what reading all of it first would take
        prepare_signal(read_signal(options.file), spec)
    else:
        values = np.empty((int(np.prod(options.decode)), 1), np.float32)
        for chunk in decode_chunks(fitter, np.zeros(fitter.field.config.latent_dim, np.float32), options.decode):
            values[chunk.points.start : chunk.points.stop] = chunk.values
    return {"added_mib": peak_mib() - before, "peak_mib": peak_mib(), "seconds": time.perf_counter() - start} | extra


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM")) / 1024


def text(shape: list[int]) -> str:
    return ",".join(map(str, shape))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""

    def shape(given: str) -> list[int]:
        return [int(part) for part in given.split(",")]

    parser = argparse.ArgumentParser(description="Peak memory of preparing, sampling and decoding large volumes.")
    parser.add_argument("--shape", type=shape, default=[512, 512, 300])
    parser.add_argument("--decode", type=shape, default=[256, 256, 256])
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "hippocampus-32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

"""How quick is the Latent space page? Sets of 5,000 and of 500,000 made-up latents of length 2048, in a real Chromium.

    python -m benchmarks.latent_space --out benchmarks/results/latent-space.json

The sets (float16, 2 GB the large one) are written to a temporary folder and deleted afterwards. Of each: the time its map takes,
and, once that is there, from the visit to the first picture (a new server's first visitor, then a second one), from a click to
the neighbours, from resting on a point to its picture; and the neighbour query by itself.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.map_components.measure import ARGUMENTS, wait_for_server
from medfuncta_core.checkpoint import save_checkpoint
from medfuncta_core.config import CheckpointConfig, DataSetInfo, FieldConfig, SignalSpec
from medfuncta_core.fields import ModulatedSIREN
from medfuncta_core.figures import frame_map
from medfuncta_core.mednf import EmbedRequest, MednfSet, find_neighbors, map_file, open_set, read_map
from medfuncta_core.mednf.describing import place_columns
from medfuncta_core.mednf.metadata import MODEL_FOLDER, SetInfo, write_metadata
from medfuncta_core.mednf.shards import shard_name, write_shard

ROOT = Path(__file__).resolve().parents[1]
LATENT_DIM, SHAPE, CLASSES, SHARD = 2048, (64, 64), 10, 25_000
HOVERS = 9
PATIENT = 300_000


def main() -> None:
    """Make the sets, map them, visit them, delete them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, nargs="+", default=[5_000, 500_000])
    parser.add_argument("--method", choices=["pca", "umap", "tsne"], default="pca")
    parser.add_argument("--folder", type=Path, help="Where the sets are written meanwhile; the system's temporary folder.")
    parser.add_argument("--port", type=int, default=8698)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="medfuncta-latent-space-", dir=options.folder))
    try:
        rows = [measure(folder, count, options.method, options.port) for count in options.points]
    finally:
        shutil.rmtree(folder)
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, headless Chromium drawing in software (SwiftShader)",
        "load_average": round(os.getloadavg()[1], 1),
        "latent_dim": LATENT_DIM,
        "method": options.method,
        "rows": rows,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(folder: Path, count: int, method: str, port: int) -> dict[str, Any]:
    """One set: its map, the query by itself, and visits by browser."""
    latents = make_set(folder / f"set-{count}", count)
    row: dict[str, Any] = {"points": count, "bytes": sum(file.stat().st_size for file in latents.path.glob("latents-*"))}
    request = EmbedRequest.parse({"method": method}, "benchmark")
    start = time.perf_counter()
    command = [sys.executable, "-m", "medfuncta_core", "embed", str(latents.path), "--method", method]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    row["map_s"] = round(time.perf_counter() - start, 1)
    print(json.dumps(row), file=sys.stderr)
    row |= query(latents)
    made = read_map(map_file(latents, request), latents)
    at = frame_map(made.coords).place(made.coords)
    row |= visit(folder, latents.path.name, at, method, port)
    print(json.dumps(row), file=sys.stderr)
    shutil.rmtree(latents.path)
    return row


def make_set(folder: Path, count: int) -> MednfSet:
    """Ten Gaussian clouds in 2048 dimensions, with a network that decodes them to something."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, LATENT_DIM)).astype(np.float32)
    labels = rng.integers(0, CLASSES, count)
    shards = -(-count // SHARD)
    folder.mkdir(parents=True)
    for shard in range(shards):
        own = labels[shard * SHARD : (shard + 1) * SHARD]
        noise = rng.standard_normal((len(own), LATENT_DIM), dtype=np.float32)
        write_shard(folder / shard_name(shard, shards), (0.02 * (centres[own] + 2 * noise)).astype(np.float16))
    torch.manual_seed(0)
    field = FieldConfig(coord_dim=2, depth=8, width=128, latent_dim=LATENT_DIM, omega_first=10, omega_last=30, residual=True)
    spec = SignalSpec(kind="image", shape=SHAPE, normalisation="dtype")
    save_checkpoint(folder / MODEL_FOLDER, ModulatedSIREN(field), CheckpointConfig(name="made-up", field=field, signal=spec))
    names = tuple(f"cloud {label}" for label in range(CLASSES))
    info = SetInfo(
        name=folder.name, rows=count, latent_dim=LATENT_DIM, dtype="float16", shards=shards, kind="image", shape=SHAPE,
        class_names=names, checkpoint="made-up", data=DataSetInfo(name="made up"),
    )  # fmt: skip
    columns: dict[str, Any] = {"id": [f"train/{row}" for row in range(count)], "split": ["train"] * count, "label": labels}
    columns |= {"class_name": np.array(names)[labels], "psnr": rng.normal(30, 3, count), "source": ["made up"] * count}
    columns |= {name: np.full(count, np.nan) for name in ("mse", "ssim")}
    write_metadata(folder, info, columns | place_columns(count, SHARD))
    return open_set(folder)


def query(latents: MednfSet, tries: int = 5) -> dict[str, float]:
    """Seconds of a neighbour query in a set that was just opened, and of later ones; what these took of the processor."""
    opened = open_set(latents.path)
    first = find_neighbors(opened, 0).seconds
    start = time.process_time()
    seconds = [find_neighbors(opened, row).seconds for row in range(1, tries + 1)]
    processor = (time.process_time() - start) / tries
    return {
        "query_first_s": round(first, 3),
        "query_s": round(statistics.median(seconds), 3),
        "query_processor_s": round(processor, 3),  # what a machine without other work takes, or less with several cores
    }


def visit(folder: Path, name: str, at: np.ndarray, method: str, port: int) -> dict[str, Any]:
    """Seconds to the first picture, to neighbours after a click, and from point to picture, on a server of its own."""
    environment = {**os.environ, "MEDFUNCTA_SETS": str(folder)}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for_server(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            address = f"http://127.0.0.1:{port}/latent_space?set={name}&map={method}"
            first, _ = first_picture(browser, address)
            second, page = first_picture(browser, address)
            result = {"first_picture_new_server_s": first, "first_picture_s": second, **use(page, at)}
            browser.close()
            return result
    finally:
        server.terminate()
        server.wait(20)


def first_picture(browser: Browser, address: str) -> tuple[float, Page]:
    """Seconds from the visit until points are drawn."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENT)
    start = time.perf_counter()
    page.goto(address)
    page.locator("canvas[data-painted]").wait_for()
    return round(time.perf_counter() - start, 2), page


def use(page: Page, at: np.ndarray) -> dict[str, Any]:
    """Rest on points until their names and their pictures are there, then open one."""
    time.sleep(3)
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    side = 0.92 * (np.array([box["width"], box["height"]]) / np.abs(at[:, :2]).max(axis=0)).min()
    pixels = at[:, :2] * [side / 2, -side / 2] + [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    rng = np.random.default_rng(1)
    names: list[float] = []
    pictures: list[float] = []
    for row in rng.choice(len(at), HOVERS, replace=False):
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.locator(".tip").wait_for(state="hidden")
        start = time.perf_counter()
        page.mouse.move(*pixels[row])
        page.locator(".tip").wait_for(state="visible")
        names.append(1000 * (time.perf_counter() - start))
        page.locator(".tip:not(.waiting) img").wait_for()
        pictures.append(1000 * (time.perf_counter() - start))
    start = time.perf_counter()
    page.mouse.click(*pixels[int(rng.integers(len(at)))])
    page.get_by_text("Class by the 10 nearest").wait_for()
    return {
        "hover_name_ms": round(statistics.median(names)),
        "hover_picture_ms": round(statistics.median(pictures)),
        "click_to_neighbours_s": round(time.perf_counter() - start, 2),
    }


if __name__ == "__main__":
    main()

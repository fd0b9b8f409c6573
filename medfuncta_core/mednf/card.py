"""`README.md` of a MedNF set: a dataset card as the Hugging Face hub reads it, and as people do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from medfuncta_core.mednf.metadata import LABELS_COLUMN, METADATA_FILE, MODEL_FOLDER, SetInfo

LICENCES = {
    "cc by 4.0": "cc-by-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc by 3.0": "cc-by-3.0",
    "cc0": "cc0-1.0",
    "odc-by 1.0": "odc-by",
    "mit": "mit",
    "apache-2.0": "apache-2.0",
}
"""The hub's names of licences that data here come with; anything else is `other` with its own name."""

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))

_USE = """```python
from medfuncta_core import Fitter, load_checkpoint
from medfuncta_core.mednf import open_set

latents = open_set("{folder}")
field = Fitter(load_checkpoint(latents.checkpoint_path))
signal = field.decode(latents.latent(0), {shape})  # any shape: the field is continuous
latents.labels, latents.column("psnr")
```

Without the library: `metadata.parquet` says for every row in which `latents-*.safetensors` (column `shard`) and in which line
of its tensor `latents` (column `row`) it is; {network} is the network that turns a latent into a signal."""


def make_set_card(
    info: SetInfo, columns: dict[str, Any], has_model: bool = True, data_files: dict[str, str] | None = None
) -> str:
    """The card of a set, from what its table holds.

    Args:
        info: What holds for all rows.
        columns: At least split, class_name, psnr and ssim.
        has_model: Whether the network is in the set's `model/`; else it is the checkpoint of that name.
        data_files: Files the hub shows, by split; the table when None.

    Returns:
        YAML front matter and Markdown, ending in a newline.
    """
    network = f"`{MODEL_FOLDER}/`" if has_model else f"the checkpoint `{info.checkpoint}`"
    parts = [
        _front_matter(info, data_files),
        f"# {info.name}",
        _describe(info, network),
        _describe_rows(info, columns),
        "## Use",
        _USE.format(folder=info.name, shape=info.shape or "shape", network=network),
        *([_HUB] if data_files else []),
        _WARNING,
    ]
    return "\n\n".join(parts) + "\n"


_HUB = "`datasets.load_dataset` with this folder's or repository's name gives the same rows with their latents (column `latent`)."

_WARNING = "Research data, not for diagnosis: a latent holds what its network could represent of a signal, and no more."


def _front_matter(info: SetInfo, data_files: dict[str, str] | None) -> str:
    licence = LICENCES.get(info.licence.lower(), "other")
    lines = ["---", f"pretty_name: {json.dumps(info.name)}", f"license: {licence}"]
    lines += [f"license_name: {json.dumps(info.licence or 'not stated')}"] if licence == "other" else []
    lines += [f"size_categories:\n- {next((name for limit, name in _SIZES if info.rows < limit), 'n>1T')}"]
    lines += ["task_categories:\n- feature-extraction", "tags:\n- medical\n- neural-fields\n- latents\n- mednf"]
    lines += ["configs:\n- config_name: default", "  data_files:" + ("" if data_files else f" {METADATA_FILE}")]
    lines += [f"  - split: {split}\n    path: {path}" for split, path in (data_files or {}).items()]
    return "\n".join([*lines, "---"])


def _describe(info: SetInfo, network: str) -> str:
    place = f"of {network}" if info.checkpoint in network else f"in {network} ({info.checkpoint})"
    points = " x ".join(map(str, info.shape))
    channels = "1 channel" if info.channels == 1 else f"{info.channels} channels"
    signals = f"{info.kind} signals" + (f" of {points} points and {channels}" if points else "")
    steps = "Gauss-Newton steps" if info.fit_method == "gauss_newton" else "fit steps"
    rows = [
        f"{info.rows:,} {signals}, each as one latent of {info.latent_dim} numbers ({info.dtype}) "
        f"of the neural field {place}, after {info.fit_steps} {steps}.",
        "",
        f"- data: {info.data.name}" + (f", {info.data.source}" if info.data.source else ""),
        f"- licence: {info.licence or 'not stated'}",
    ]
    rows += [f"- task: {info.task}"] if info.task else []
    rows += [f"- classes: {', '.join(info.class_names)}"] if info.class_names else []
    rows += [f"- sample: {info.sample}"] if info.sample else []
    rows += [f"- SHA-256 of the data file: `{info.data.sha256}`"] if info.data.sha256 else []
    rows += [f"- SHA-256 of the network's weights: `{info.checkpoint_sha256}`"] if info.checkpoint_sha256 else []
    return "\n".join(rows)


def _describe_rows(info: SetInfo, columns: dict[str, Any]) -> str:
    """A line a split: signals, mean qualities, and signals of each class."""
    split = np.array([name or "" for name in columns["split"]], dtype=object)
    members = _members(info, columns)
    lines = ["| split | signals | PSNR (dB) | SSIM | classes |", "|---|---|---|---|---|"]
    for name in sorted(set(split), key=lambda known: ("train", "val", "test", known).index(known)):
        own = split == name
        counts = [f"{label} {int((own & has).sum()):,}" for label, has in zip(info.class_names, members, strict=True)]
        quality = " | ".join(_mean(columns[metric], own, form) for metric, form in (("psnr", ".2f"), ("ssim", ".4f")))
        lines.append(f"| {name or '-'} | {int(own.sum()):,} | {quality} | {', '.join(counts) or '-'} |")
    return (
        "Means over signals of what the stored latents decode to, clamped to [0, 1]; "
        "a latent's own are in `metadata.parquet`.\n\n" + "\n".join(lines)
    )


def _members(info: SetInfo, columns: dict[str, Any]) -> list[np.ndarray]:
    """Which rows have each class; where a signal has several labels, a row can have several."""
    if LABELS_COLUMN in columns and len(info.class_names) > 1:
        several = np.array([list(labels) for labels in columns[LABELS_COLUMN]])
        if several.shape == (info.rows, len(info.class_names)):
            return list((several == 1).T)
    classes = np.array([name or "" for name in columns["class_name"]], dtype=object)
    return [classes == label for label in info.class_names]


def _mean(values: Any, rows: np.ndarray, form: str) -> str:
    """Of the known values of some rows; a dash where there are none."""
    chosen = np.array(values, dtype=np.float64)[rows]
    chosen = chosen[~np.isnan(chosen)]
    return format(chosen.mean(), form) if len(chosen) else "-"

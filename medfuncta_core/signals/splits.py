"""Which splits a data set has, without reading its signals."""

from __future__ import annotations

from pathlib import Path

from medfuncta_core.signals.arrays import list_npz
from medfuncta_core.signals.data_sets import SPLITS, path_exists
from medfuncta_core.signals.medmnist_files import find_medmnist
from medfuncta_core.signals.sources import Source


def find_splits(data: str | Path) -> tuple[str, ...]:
    """The splits of a data set that hold signals, of train, val and test.

    Args:
        data: As for `load_data_set`, which says what is wrong with anything else.

    Raises:
        DataSetError: if a table of beats is damaged.
        SignalError: if an archive is damaged.
    """
    path = Path(data).expanduser()
    there = path_exists(path)
    if not there and find_medmnist(str(data)) is not None:
        return SPLITS
    if there and path.is_dir():
        from medfuncta_core.signals.folders import list_split

        return tuple(split for split in SPLITS if list_split(path, split))
    if path.suffix.lower() == ".npz" and there:
        shapes = list_npz(Source(path.name, path=path))
        return tuple(split for split in SPLITS if shapes.get(f"{split}_images", (0,))[0] > 0)
    if path.suffix.lower() in (".csv", ".tsv", ".txt") and there:
        from medfuncta_core.signals.beat_tables import find_table_splits

        return find_table_splits(path)
    return SPLITS

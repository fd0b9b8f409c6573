"""MedMNIST's files by name: downloaded once, checked against the package's table, and kept in a cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import tempfile
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import cache
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any

from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.data_set import DataSet
from medfuncta_core.signals.guarding import one_line
from medfuncta_core.signals.sources import hash_file

_TIMEOUT_S = 30
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class MedMNISTFlag:
    """One of MedMNIST's files.

    Args:
        name: The package's flag, `chestmnist`.
        edge: Points per axis: 28, 64, 128 or 224.
        url: Where it is published.
        md5: Its digest according to the medmnist package.
        class_names: Names of the classes in order.
        licence: Licence of the data.
    """

    name: str
    edge: int
    url: str
    md5: str
    class_names: tuple[str, ...]
    licence: str

    @property
    def file_name(self) -> str:
        """The published file's name: `chestmnist.npz`, `chestmnist_64.npz`."""
        return f"{self.name}.npz" if self.edge == 28 else f"{self.name}_{self.edge}.npz"

    def describe(self, opened: DataSet) -> DataSet:
        """The data set with MedMNIST's name, class names, licence and address."""
        names = self.class_names if opened.labels is not None else ()
        return replace(opened, name=Path(self.file_name).stem, class_names=names, licence=self.licence, source=self.url)


def find_medmnist(text: str) -> MedMNISTFlag | None:
    """The MedMNIST file that `text` names, or None when it names none.

    Args:
        text: `chestmnist`, `chestmnist:64` or `chestmnist_64`; without a number 28.

    Raises:
        DataSetError: if the name is MedMNIST's but the size is not.
    """
    match = re.fullmatch(r"([a-z]+mnist(?:3d)?)(?:[:_](\d+))?", text.strip().lower())
    table = _read_table()
    if match is None or match[1] not in table:
        return None
    entry, edge = table[match[1]], int(match[2] or 28)
    suffix = "" if edge == 28 else f"_{edge}"
    if f"url{suffix}" not in entry:
        sizes = ", ".join(str(size) for size in (28, *_sizes(entry)))
        raise DataSetError(f"{text}: {match[1]} is published at {sizes}, not {edge}; choose one of these")
    return MedMNISTFlag(
        name=match[1],
        edge=edge,
        url=entry[f"url{suffix}"],
        md5=entry[f"MD5{suffix}"],
        class_names=tuple(entry["label"][key] for key in sorted(entry["label"], key=int)),
        licence=entry["license"],
    )


def default_cache_dir() -> Path:
    """MEDFUNCTA_CACHE, or ~/.cache/medfuncta."""
    return Path(os.environ.get("MEDFUNCTA_CACHE") or Path.home() / ".cache" / "medfuncta")


@dataclass(frozen=True)
class Download:
    """How far a download is: bytes that came, and bytes in all where the server says so."""

    done: int
    total: int | None


def ensure_medmnist(flag: MedMNISTFlag, cache_dir: str | Path | None = None) -> Path:
    """Path of the file in the cache, downloaded on first use.

    Args:
        flag: Which file.
        cache_dir: Where to keep it; None for `default_cache_dir()`.

    Raises:
        DataSetError: if it cannot be downloaded or written, or its MD5 differs.
    """
    target = cached_medmnist(flag, cache_dir)
    if not target.is_file():
        for _ in download_medmnist(flag, cache_dir):
            pass
    elif hash_file(target, "md5") != flag.md5:
        raise DataSetError(f"{target}: does not have the MD5 of MedMNIST's file; delete it to have it downloaded again")
    return target


def cached_medmnist(flag: MedMNISTFlag, cache_dir: str | Path | None = None) -> Path:
    """Where the file lies once it is downloaded, verified when it came."""
    return Path(cache_dir or default_cache_dir()).expanduser() / flag.file_name


def download_medmnist(flag: MedMNISTFlag, cache_dir: str | Path | None = None) -> Generator[Download]:
    """Download a file into the cache, replacing nothing until it is whole: written under a temporary name, verified, renamed.

    Args:
        flag: Which file.
        cache_dir: As in `ensure_medmnist`.

    Yields:
        How far it is, about once a mebibyte; a caller that pulls no further leaves nothing behind.

    Raises:
        DataSetError: as `ensure_medmnist`.
    """
    target = cached_medmnist(flag, cache_dir)
    remedy = f"download {flag.url} by hand and give the path of the .npz instead"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{flag.file_name}.", dir=target.parent)
    except OSError as error:
        raise DataSetError(
            f"{flag.file_name}: the cache cannot be written ({one_line(error)}); set MEDFUNCTA_CACHE to a folder"
        ) from error
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield from _download(flag.url, stream, digest)
            stream.flush()
            os.fsync(stream.fileno())
        if digest.hexdigest() != flag.md5:
            raise DataSetError(
                f"{flag.file_name}: the download's MD5 is {digest.hexdigest()}, not {flag.md5}; try again, or {remedy}"
            )
        os.replace(temporary, target)
    except (OSError, HTTPException, ValueError) as error:
        raise DataSetError(f"{flag.file_name}: download failed ({one_line(error)}); {remedy}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _download(url: str, stream: Any, digest: Any) -> Iterator[Download]:
    """Copy an address into a stream and a digest, piece by piece."""
    request = urllib.request.Request(url, headers={"User-Agent": "medfuncta"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        announced = str(getattr(response, "headers", {}).get("Content-Length") or "")
        total, done = int(announced) if announced.isdecimal() else None, 0
        while piece := response.read(_PIECE_BYTES):
            digest.update(piece)
            stream.write(piece)
            done += len(piece)
            yield Download(done, total)


def list_medmnist() -> dict[str, tuple[int, ...]]:
    """Every name of MedMNIST with the sizes it is published at."""
    sizes = {name: sorted({28, *_sizes(entry)}) for name, entry in sorted(_read_table().items())}
    return {name: tuple(found) for name, found in sizes.items()}


def _sizes(entry: dict[str, Any]) -> list[int]:
    return [int(key.removeprefix("url_")) for key in entry if key.startswith("url_")]


@cache
def _read_table() -> dict[str, Any]:
    """The medmnist package's INFO table, without importing the package, which would import torch and torchvision."""
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        return {}
    file = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("medfuncta_medmnist_info", file)
    if spec is None or spec.loader is None:
        return {}
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.INFO

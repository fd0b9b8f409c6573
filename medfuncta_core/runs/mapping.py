"""A map of a set in a process of its own: whoever wants to see it can watch how far it is, and end it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from medfuncta_core.errors import SetError
from medfuncta_core.mednf import EmbedRequest, EmbedStep, MednfSet, embed, map_file, write_map
from medfuncta_core.runs.processes import spawn

AT_ONCE = 2**23
"""Numbers in a set whose PCA takes a fraction of a second: no process is started for that."""


class MapJob:
    """A map being made.

    Args:
        latents: The set.
        request: How.

    Raises:
        SetError: when a small map cannot be made.
    """

    def __init__(self, latents: MednfSet, request: EmbedRequest) -> None:
        self.file = map_file(latents, request)
        self.error: SetError | None = None
        self._process = None
        if request.method == "pca" and len(latents) * latents.latent_dim <= AT_ONCE:
            write_map(self.file, latents, embed(latents, request))
            return
        self._folder = Path(tempfile.mkdtemp(prefix="medfuncta-map-"))
        arguments = ["embed", str(latents.path), "--out", str(self.file), "--progress", str(self._folder / "progress.json")]
        for name, value in request.model_dump().items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        with (self._folder / "log.txt").open("wb") as log:
            self._process = spawn(arguments, log)

    def active(self) -> bool:
        """Whether it is still being made; afterwards the file is there, or `error` says why not."""
        process = self._process
        if process is None:
            return False
        code = process.poll()
        if code is None:
            return True
        if code != 0:
            self.error = SetError(self._said() or f"the map was not made: its process ended with {code}; start it again")
        self._forget()
        return False

    def _said(self) -> str:
        """The one line that a command which fails leaves, between the turns of its progress bar."""
        with suppress(OSError):
            lines = (self._folder / "log.txt").read_text(errors="replace").replace("\r", "\n").split("\n")
            return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
        return ""

    def step(self) -> EmbedStep:
        """How far it is."""
        with suppress(OSError, ValueError, KeyError, AttributeError):
            told = json.loads((self._folder / "progress.json").read_text())
            return EmbedStep(str(told["words"]), float(told["share"]))
        return EmbedStep("Starting", 0.0)

    def cancel(self) -> None:
        """End it; nothing of the map is left."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for leftover in self.file.parent.glob(f".{self.file.name}.*.tmp"):
            leftover.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

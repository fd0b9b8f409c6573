"""A fit of a volume: steps are taken by a thread of its own, so that the page answers while a step lasts, and cuts are kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medfuncta_core.config import FitConfig
from medfuncta_core.errors import MedFunctaError, SignalError
from pages.shared import state
from pages.shared.fit_run import FitRun
from pages.shared.settings import Hiding
from pages.shared.sidebar import Choice

if TYPE_CHECKING:
    from medfuncta_core.geometry import Cut, VolumeGeometry
    from medfuncta_core.volumes import CutView
    from pages.shared.volume_source import VolumeInput

UNWATCHED_SECONDS = 60.0
"""A fit that no page has looked at for so long is given up: its visitor has left."""
KEPT_CUT_BYTES = 96 * 2**20


class VolumeRun(FitRun):
    """A fit of one volume, and what a visitor looks at in it.

    Args:
        choice: Checkpoint and device.
        volume: What is fitted.
        config: Fit settings.
        hiding: What the fit does not see; nothing is hidden from random voxels.

    Raises:
        MedFunctaError: when volume, mask, device or checkpoint do not go together.
    """

    identity_name = "volume_identity"

    def __init__(self, choice: Choice, volume: VolumeInput, config: FitConfig, hiding: Hiding) -> None:
        from medfuncta_core.geometry import geometry_of, geometry_of_file
        from medfuncta_core.grids import sampled_context
        from medfuncta_core.volumes import Index, middle_index

        sampled = volume.voxels
        super().__init__(choice, volume.signal, config, Hiding() if sampled is not None else hiding)
        if sampled is not None:
            self._steps = self.fitter.steps(sampled_context(sampled.coords, sampled.values))
        # The thread's fitter keeps its buffers to itself; the page decodes with one of its own.
        self._stepper = self.fitter
        self.volume, self.choice_name = volume, choice.name
        self.fitter = self.fresh_fitter()
        self.geometry: VolumeGeometry = geometry_of(volume.signal)
        self.file_geometry = None if volume.file is None else geometry_of_file(volume.file)
        self.at: Index = middle_index(self.geometry)
        self.box: tuple[int, tuple[float, float, float, float]] | None = None
        self.labels: Any = None
        self._thread: threading.Thread | None = None
        self._seen = time.monotonic()
        self._cuts: OrderedDict[Any, CutView] = OrderedDict()

    def advance(self) -> None:
        """Begin if not begun; the page has looked."""
        self._seen = time.monotonic()
        with self._lock:
            if self.active and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="volume fit", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            for step in self._steps:
                with self._lock:
                    if not self.active:
                        return
                    self.history.append(step)
                if time.monotonic() - self._seen > UNWATCHED_SECONDS:
                    raise SignalError("the fit was given up because nobody watched it; fit again to go on")
            result = self._stepper.finish(self.signal, tuple(self.history))
            with self._lock:
                self.result = self.result or (result if self.active else None)
        except MedFunctaError as error:
            self._fail(error)
        except Exception as error:
            self._fail(SignalError(f"the fit failed ({type(error).__name__}); fit again, or choose another checkpoint"), error)

    def _fail(self, error: MedFunctaError, cause: BaseException | None = None) -> None:
        if cause is not None:
            error.__cause__ = cause
        with self._lock:
            if self.active:
                self._close(error)

    def abandon(self) -> None:
        """End the fit without a result; nobody wants it any more."""
        with self._lock:
            if self.active:
                self.error = SignalError("the fit was given up")

    def decoder(self, index: int, watch: Callable[[int], None] = lambda points: None, fitter: Any = None) -> Any:
        """The field of a step's latent, for the library's cuts and exports.

        Args:
            index: Of the step.
            watch: Told how many points were decoded, piece by piece.
            fitter: One of `fresh_fitter`, for a thread of its own; the page's when None.
        """
        return self.decoder_of(self.history[index].latent, watch, fitter)

    def decoder_of(self, latent: Any, watch: Callable[[int], None] = lambda points: None, fitter: Any = None) -> Any:
        """The field of any latent of this network; arguments as `decoder`."""
        from medfuncta_core.decoding import watched_decoder

        return watched_decoder(fitter or self.fitter, latent, watch)

    def fresh_fitter(self) -> Any:
        """A fitter with buffers of its own, for another thread."""
        from medfuncta_core.fitting import Fitter

        return Fitter(state.load_field(self.choice_name, self.device), self.config, self.device)

    def kept_view(self, index: int, cut: Cut, pixels: tuple[int, int], truth: bool, smooth: bool) -> CutView | None:
        """A cut that was viewed before, if it is kept."""
        return self._cuts.get(_key(index, cut, pixels, truth, smooth))

    def view(
        self, index: int, cut: Cut, pixels: tuple[int, int], truth: bool, smooth: bool, watch: Callable[[int], None]
    ) -> CutView:
        """A cut through the input and the field of a step.

        Args:
            index: Of the step.
            cut: The plane.
            pixels: Rows and columns.
            truth: Compare with the file's own voxels instead of what was fitted.
            smooth: Interpolate between the input's voxels.
            watch: As in `decoder`.
        """
        from medfuncta_core.volumes import view_cut

        key = _key(index, cut, pixels, truth, smooth)
        found = self._cuts.get(key)
        if found is None:
            original = self.volume.original if truth else None
            with self._lock:
                found = view_cut(self.signal, self.decoder(index, watch), cut, pixels, truth=original, smooth=smooth)
            self._cuts[key] = found
            held = sum(view.reconstruction.nbytes + view.input.nbytes + view.error.nbytes for view in self._cuts.values())
            while held > KEPT_CUT_BYTES and len(self._cuts) > 1:
                held -= 3 * self._cuts.popitem(last=False)[1].reconstruction.nbytes
        return found


def _key(index: int, cut: Cut, pixels: tuple[int, int], truth: bool, smooth: bool) -> Any:
    place = tuple(tuple(side.round(4).tolist()) for side in (cut.corner, cut.right, cut.down))
    return index, place, pixels, truth, smooth


def current_volume_run(choice: Choice, volume: VolumeInput, config: FitConfig, hiding: Hiding) -> VolumeRun:
    """This visitor's fit of a volume with these settings: the one under way, or a new one after any of them changed."""
    identity = (choice.name, choice.device, volume.origin, config, hiding)
    if state.recall(VolumeRun.identity_name) != identity:
        old = state.recall("volume_run")
        if old is not None:
            old.abandon()
        state.remember(VolumeRun.identity_name, None)
        state.remember("volume_run", VolumeRun(choice, volume, config, hiding))
        state.remember(VolumeRun.identity_name, identity)
    return state.recall("volume_run")

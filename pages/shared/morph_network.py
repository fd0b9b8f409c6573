"""The network that everything on the Interpolate page belongs to, and the stored latents of it that one can choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medfuncta_core.config import Kind, SignalSpec
from medfuncta_core.errors import CheckpointError
from pages.shared import state
from pages.shared.sidebar import Choice
from pages.shared.state import Pick, SetRow, Stored

if TYPE_CHECKING:
    from medfuncta_core.checkpoint import Checkpoint, Gallery
    from medfuncta_core.fitting import Fitter
    from medfuncta_core.mednf import MednfSet


@dataclass(frozen=True)
class Network:
    """A shared network: a checkpoint, or the copy inside a set whose checkpoint is not here.

    Args:
        name: Of the checkpoint, or of the set.
        inside_set: Which of the two.
        device: auto, cpu or cuda.
    """

    name: str
    inside_set: bool
    device: str

    @property
    def checkpoint(self) -> Checkpoint:
        """Frozen, shared by everybody."""
        from medfuncta_core.fitting import choose_device

        device = choose_device(self.device).type
        return state.load_set_field(self.name, device) if self.inside_set else state.load_field(self.name, device)

    def fitter(self) -> Fitter:
        """A fitter of this run's own."""
        from medfuncta_core.fitting import Fitter

        return Fitter(self.checkpoint, device=self.device)

    @property
    def spec(self) -> SignalSpec:
        """What its signals are.

        Raises:
            CheckpointError: when it does not say.
        """
        config = self.checkpoint.config if self.inside_set else state.list_configs()[self.name]
        if config.signal is None:
            raise CheckpointError(f"{self.name} does not say what its signals are; import it again with the shape of its signals")
        return config.signal

    @property
    def kind(self) -> Kind:
        """ECG, image or volume."""
        return self.spec.kind

    @property
    def version(self) -> tuple[str, bool, int]:
        """Changes when the weights do."""
        return self.name, self.inside_set, state.set_version(self.name) if self.inside_set else state.field_version(self.name)


@dataclass(frozen=True)
class Material:
    """Stored latents: the gallery of a checkpoint, or a set."""

    kind: Literal["gallery", "set"]
    name: str

    @property
    def title(self) -> str:
        """What to call it."""
        return "Gallery" if self.kind == "gallery" else f"Set {self.name}"

    @property
    def version(self) -> int:
        """Changes when it does."""
        return state.gallery_version(self.name) if self.kind == "gallery" else state.set_version(self.name)

    @property
    def _stored(self) -> Gallery | MednfSet:
        return state.load_gallery(self.name) if self.kind == "gallery" else state.load_set(self.name)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def labels(self) -> Any:
        """Class of every row, -1 without one."""
        return self._stored.labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis of its signals."""
        return tuple(self._stored.shape)

    def class_of(self, row: int) -> str:
        """Name of a row's class, "" without one."""
        return self._stored.class_name(row)

    def name_of(self, label: int) -> str:
        """Name of a class."""
        names = self._stored.class_names
        return names[label] if label < len(names) else str(label)

    def psnr(self, rows: Any) -> Any:
        """What the fits of some rows reached, in dB; NaN where it is not known."""
        stored = self._stored
        return stored.psnr[rows] if self.kind == "gallery" else stored.column("psnr")[rows]  # type: ignore[union-attr]

    def latents(self, rows: Any) -> Any:
        """Some latents, `(b, p)`."""
        stored = self._stored
        return stored.latents[rows] if self.kind == "gallery" else stored.latents(rows)  # type: ignore[operator]

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """All latents, a block at a time, with the first row of each."""
        stored = self._stored
        return iter([(0, stored.latents)]) if self.kind == "gallery" else stored.blocks()  # type: ignore[union-attr]

    def source(self, row: int) -> Stored:
        """What names a row on every page."""
        return Pick(self.name, row) if self.kind == "gallery" else SetRow(self.name, row)


def network_of(source: Stored, device: str) -> Network:
    """The network that a stored signal belongs to."""
    if isinstance(source, Pick):
        return Network(source.checkpoint, False, device)
    return _network_of_set(source.set, device)


def _network_of_set(name: str, device: str) -> Network:
    info = state.load_set(name).info
    here = info.checkpoint in state.list_configs()
    same = here and info.checkpoint_sha256 in ("", state.weights_digest(info.checkpoint))
    return Network(info.checkpoint, False, device) if same else Network(name, True, device)


def chosen_network(choice: Choice) -> Network:
    """That of the sidebar's checkpoint."""
    return Network(choice.name, False, choice.device)


def list_materials(network: Network) -> tuple[Material, ...]:
    """Galleries and sets whose latents this network decodes; the gallery first."""
    found = [] if network.inside_set or not state.gallery_file(network.name).is_file() else [Material("gallery", network.name)]
    sets = [name for name in _readable_sets() if _network_of_set(name, network.device) == network]
    return (*found, *(Material("set", name) for name in sets))


def list_strangers(network: Network) -> tuple[Material, ...]:
    """Sets that bring a network of their own, which choosing from them changes to."""
    own = {name: _network_of_set(name, network.device) for name in _readable_sets()}
    return tuple(Material("set", name) for name, of in own.items() if of.inside_set and of != network)


def _readable_sets() -> list[str]:
    from medfuncta_core.errors import MedFunctaError

    found: list[str] = []
    for name in state.list_set_names():
        try:
            state.load_set(name)
        except MedFunctaError:
            continue  # the Latent space page, which opens it, says what is wrong with it
        found.append(name)
    return found

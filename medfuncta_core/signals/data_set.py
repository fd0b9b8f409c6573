"""A data set in memory: many signals of one kind and shape, their labels, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32

from medfuncta_core.config import DataSetInfo, Kind, Normalisation, SignalSpec, VolumeRecipe
from medfuncta_core.errors import DataSetError
from medfuncta_core.signals.signal import Signal

KACHUEE_RATE_HZ = 125.0
"""Sampling rate of the paper's ECG set (Kachuee et al., 2018)."""

KACHUEE_SHAPE = (187,)
"""Samples of one of its beats."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """One split of a data set.

    Args:
        name: For people: a file's, folder's or MedMNIST's name.
        split: "train", "val" or "test".
        kind: What each signal is.
        values: `(N, *shape, c)` as stored: uint8 and uint16 span their type's range, floats lie in [0, 1].
        labels: `(N,)` int64 class indices, or None when there are none (or several per signal, as in ChestMNIST).
        class_names: One name per class index, () without labels.
        sha256: Digest of the file, or of a folder's listing (names and digests of its files).
        source: Path or address it was read from.
        licence: Licence of the data where known.
        train_signals: Signals in the whole training split, whichever split this is.
        normalisation: How its files became [0, 1], for the checkpoint's SignalSpec.
        limits: Quantiles or window that go with it.
        sampling_rate: Samples per second of ECGs, None when unknown.
        extras: Other columns of the data file, `(N, ...)` each, such as patients; `file` where every signal is a file, `labels`
            `(N, m)` where a signal has several.
        recipe: How its volumes were prepared, None where the file does not say.
    """

    name: str
    split: str
    kind: Kind
    values: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    sha256: str = ""
    source: str = ""
    licence: str = ""
    train_signals: int = 0
    normalisation: Normalisation = "dtype"
    limits: tuple[float, float] | None = None
    sampling_rate: float | None = None
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    recipe: VolumeRecipe | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis of one signal, without channels."""
        return self.values.shape[1:-1]

    @property
    def channels(self) -> int:
        """Values per point."""
        return self.values.shape[-1]

    @property
    def value_range(self) -> tuple[float, float]:
        """Stored values that stand for 0 and 1."""
        return (0.0, float(np.iinfo(self.values.dtype).max)) if self.values.dtype.kind == "u" else (0.0, 1.0)

    def batch(self, indices: np.ndarray | list[int] | slice) -> Float32[np.ndarray, "b *shape c"]:
        """Some of its signals as float32 in [0, 1]; only these are converted, so that stored bytes stay bytes.

        Args:
            indices: Which signals, `(b,)` integers or a slice.

        Returns:
            `(b, *shape, c)`, a copy.
        """
        chosen = self.values[indices].astype(np.float32)
        high = np.float32(self.value_range[1])
        return chosen if high == 1 else np.divide(chosen, high, out=chosen)

    def signal(self, index: int) -> Signal:
        """One of its signals, with its label and class name; `prepare_signal` leaves its values as they are.

        Raises:
            DataSetError: if there is no signal with this index.
        """
        if not 0 <= index < len(self):
            raise DataSetError(f"{self.name}: {self.split} has signals 0 to {len(self) - 1}, not {index}; choose one of these")
        label = None if self.labels is None else int(self.labels[index])
        rate = self.sampling_rate if self.kind == "ecg" else None
        return Signal(
            values=self.batch([index])[0],
            kind=self.kind,
            name=f"{self.name} {self.split} {index}",
            spacing=None if rate is None else (1 / rate,),
            spacing_unit="" if rate is None else "s",
            value_range=self.value_range,
            nominal_range=self.value_range,
            original_shape=self.values.shape[1:-1] if self.channels == 1 else self.values.shape[1:],
            label=label,
            class_name="" if label is None else self.class_names[label],
            prepared_for=self.spec() if min(self.shape) > 1 else None,  # no checkpoint has an axis of one point
            normalised=True,
        )

    def take(self, limit: int | None) -> DataSet:
        """At most `limit` of its signals, evenly spread over the file, since many files are sorted by class or patient.

        Raises:
            DataSetError: if `limit` is not positive.
        """
        if limit is not None and limit < 1:
            raise DataSetError(f"{self.name}: limit {limit} leaves no signals; give at least 1")
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        extras = {name: column[chosen] for name, column in self.extras.items()}
        return replace(self, values=self.values[chosen], labels=labels, extras=extras)

    def info(self) -> DataSetInfo:
        """What a checkpoint says about the data that trained it."""
        return DataSetInfo(
            name=self.name,
            sha256=self.sha256,
            train_signals=self.train_signals,
            class_names=self.class_names,
            licence=self.licence,
            source=self.source,
        )

    def spec(self) -> SignalSpec:
        """What a checkpoint trained on this data expects of a signal."""
        return SignalSpec(
            kind=self.kind,
            shape=self.shape,
            channels=self.channels,
            normalisation=self.normalisation,
            limits=self.limits,
            sampling_rate=self.sampling_rate,
            recipe=self.recipe,
        )

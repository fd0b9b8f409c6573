"""Signals: the only code that knows foreign file formats; everything beyond it sees values in [0, 1]."""

from medfuncta_core.signals.data_set import DataSet
from medfuncta_core.signals.data_sets import load_data_set
from medfuncta_core.signals.preparing import prepare_signal
from medfuncta_core.signals.reading import count_signals, read_signal
from medfuncta_core.signals.resizing import with_values
from medfuncta_core.signals.signal import Signal
from medfuncta_core.signals.splits import find_splits
from medfuncta_core.signals.surveying import DataSurvey, survey_data_set
from medfuncta_core.signals.writing import write_signal

__all__ = [
    "DataSet",
    "DataSurvey",
    "Signal",
    "count_signals",
    "find_splits",
    "load_data_set",
    "prepare_signal",
    "read_signal",
    "survey_data_set",
    "with_values",
    "write_signal",
]

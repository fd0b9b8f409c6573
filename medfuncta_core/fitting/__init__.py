"""Fitting: from a signal to its latent, the shared parameters frozen, and decoding at any shape."""

from medfuncta_core.fitting.fitter import Fitter, choose_device
from medfuncta_core.fitting.results import FitBatch, FitResult, FitStep

__all__ = ["FitBatch", "FitResult", "FitStep", "Fitter", "choose_device"]

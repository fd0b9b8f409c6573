"""Training runs on disk: a folder each, that whoever wants can read while the run writes it."""

from medfuncta_core.runs.folder import RunConfig, RunFolder, train_run

__all__ = ["RunConfig", "RunFolder", "train_run"]

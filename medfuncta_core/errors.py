"""The errors a user can cause or meet; each says what is wrong and what to do about it, in one line."""


class MedFunctaError(Exception):
    """Base of everything this library raises on purpose; pages and the command line show it as one line."""


class SignalError(MedFunctaError):
    """A file or array cannot become a signal: unreadable, empty, not finite, too large, or of the wrong kind."""


class DataSetError(MedFunctaError):
    """A data set cannot be found, verified or used for what was asked."""


class CheckpointError(MedFunctaError):
    """Weights or latents cannot be read, written or imported."""


class SetError(MedFunctaError):
    """A MedNF set cannot be made, opened, or used for what was asked."""


class ConfigError(MedFunctaError):
    """A setting is outside its range or does not go with the others."""


class TrainingError(MedFunctaError):
    """A training run cannot start, resume or go on."""

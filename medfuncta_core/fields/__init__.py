"""Neural fields: the modulated SIREN, its initialisation and its hand-derived passes."""

from medfuncta_core.fields.choosing import passes_for
from medfuncta_core.fields.passes import FieldPasses, Gradients
from medfuncta_core.fields.recorded import LatentGradients
from medfuncta_core.fields.siren import MODULATION_MATRICES, ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations

__all__ = [
    "MODULATION_MATRICES",
    "FieldPasses",
    "Gradients",
    "LatentGradients",
    "ModulatedSIREN",
    "Modulations",
    "passes_for",
]

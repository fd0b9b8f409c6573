"""Neural fields: the modulated SIREN, its initialisation and its hand-derived passes."""

from medfuncta_core.fields.passes import FieldPasses, Gradients
from medfuncta_core.fields.siren import ModulatedSIREN
from medfuncta_core.fields.tiles import Modulations

__all__ = ["FieldPasses", "Gradients", "ModulatedSIREN", "Modulations"]

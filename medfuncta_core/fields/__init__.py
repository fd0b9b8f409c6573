"""Neural fields: the modulated SIREN, its initialisation and its hand-derived passes."""

from medfuncta_core.fields.passes import FieldPasses, Gradients, Modulations
from medfuncta_core.fields.siren import ModulatedSIREN

__all__ = ["FieldPasses", "Gradients", "ModulatedSIREN", "Modulations"]

"""The command line: arguments in, one core call, JSON or a few lines out. Torch is imported only by commands that need it."""

import medfuncta_core.cli.classifying
import medfuncta_core.cli.comparing
import medfuncta_core.cli.contrasting
import medfuncta_core.cli.fitting
import medfuncta_core.cli.importing
import medfuncta_core.cli.launching
import medfuncta_core.cli.mapping
import medfuncta_core.cli.preparing
import medfuncta_core.cli.promoting
import medfuncta_core.cli.runs
import medfuncta_core.cli.set_tools
import medfuncta_core.cli.sets
import medfuncta_core.cli.sweeping
import medfuncta_core.cli.training
import medfuncta_core.cli.walking  # noqa: F401  (each module adds its commands to the app)
from medfuncta_core.cli.app import app

__all__ = ["app"]

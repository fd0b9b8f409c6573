"""`python -m medfuncta_core`."""

from medfuncta_core.cli import app

if __name__ == "__main__":
    app(prog_name="python -m medfuncta_core")

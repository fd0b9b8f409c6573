"""The command line in float64, for torchrun: so that what is compared differs by rounding in the sixteenth digit only."""

import torch

from medfuncta_core.cli import app

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    app()

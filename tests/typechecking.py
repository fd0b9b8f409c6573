"""How pytest checks the library's annotations: as pyright reads them."""

from typing import Self

from beartype import BeartypeConf, FrozenDict, beartype

# An int is good where a float is expected (PEP 484). `Self` goes unchecked: beartype takes it only on classes decorated whole.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: object})))
"""What jaxtyping's hook puts on every function of the library; pyproject.toml names it."""

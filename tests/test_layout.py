"""Which file may import what, how long modules may be, and what must not be in the repository: read from the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "medfuncta_core"

# A module may import the modules before it, never those after it.
ORDER = (
    *("errors", "config", "atomic", "signals", "geometry", "grids", "metrics", "kernels", "fields", "checkpoint", "fitting"),
    *("decoding", "report", "comparison", "volumes", "learning", "mednf", "runs", "figures", "cli", "__main__"),
)
PLOTTING = {"plotly", "matplotlib", "seaborn", "altair", "bokeh"}
NUMERICS = {"torch", "torchvision", "numpy"}
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
MAX_LINES = 350

# Home folders, roots of continuous integration, and pip options or lock-file keys that carry a registry's address.
MACHINE = re.compile(
    r"(?<![\w.~}-])/(?:home|Users|root|builds)/\w|[A-Z]:\\Users\\|--(?:extra-)?index-url|--find-li[n]ks|\"resolved\":"
)


def imported_modules(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and dotted name of everything a file of `package` imports, wherever in the file, relative imports resolved.

    `from a.b import c` counts as `a.b.c`: what is imported may be a module, and a rule on `a.b` holds for it as well.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((node.lineno, (*base, alias.name)) for alias in node.names)


def streamlit_state(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every use of session state or a cache, as `st.session_state` or imported by name."""
    state = {"session_state", "cache_data", "cache_resource"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in state:
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "streamlit":
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in state)


def unsafe_reading(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every argument that lets a file being read run code."""
    unsafe = {("allow_pickle", True), ("weights_only", False)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and (node.arg, node.value.value) in unsafe:
            yield node.value.lineno, f"{node.arg}={node.value.value}"


def forbidden_import(path: tuple[str, ...], target: tuple[str, ...]) -> str | None:
    """Why the file at `path` (parts without `.py`) may not import `target`, or None when it may."""
    in_library = path[0] == LIBRARY
    if target[0] in PICKLING:
        return "unpickling runs code; safetensors, JSON and Parquet do not"
    if target[0] in PLOTTING and path[:2] != (LIBRARY, "figures"):
        return f"{target[0]} is for {LIBRARY}/figures/ only"
    if in_library and target[0] in ("streamlit", "pages", "app"):
        return f"the library knows nothing of the app ({target[0]})"
    if not in_library and path[0] in ("pages", "app") and target[0] in NUMERICS:
        return f"{target[0]} belongs in the library"
    if not in_library or target[0] != LIBRARY or path[1] == "__init__":
        return None
    if len(target) == 1 or target[1] not in ORDER:
        return f"import from the module that defines it, not from {LIBRARY} itself ({'.'.join(target)})"
    if path[1] in ORDER and target[1] != path[1] and ORDER.index(target[1]) > ORDER.index(path[1]):
        return f"{path[1]} comes before {target[1]}; imports point the other way"
    return None


def problems(root: Path) -> list[str]:
    """What breaks the rules in the tree at `root`, one line each: file, line, reason."""
    found: list[str] = []
    files = [*root.glob("*.py"), *(file for part in (LIBRARY, "pages", "benchmarks") for file in (root / part).rglob("*.py"))]
    for file in sorted(files):
        path = file.relative_to(root).with_suffix("").parts
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text, str(file))
        at = file.relative_to(root).as_posix()
        if len(lines := text.splitlines()) > MAX_LINES:
            found.append(f"{at}: {len(lines)} lines, more than {MAX_LINES}")
        if path[0] == LIBRARY and path[1] not in (*ORDER, "__init__"):
            found.append(f"{at}: {path[1]} has no place in the import order")
        for line, target in imported_modules(tree, path[:-1]):
            if reason := forbidden_import(path, target):
                found.append(f"{at}:{line}: {reason}")
        if path[:2] != ("pages", "shared"):
            found += [f"{at}:{line}: {name} is for pages/shared only" for line, name in streamlit_state(tree)]
        found += [f"{at}:{line}: {argument} would run code from a file" for line, argument in unsafe_reading(tree)]
    return found


def repository_texts(root: Path) -> Iterator[tuple[str, str]]:
    """Name and content of every text file that is or would be tracked."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        content = (root / name).read_bytes() if (root / name).is_file() else b""
        if b"\0" not in content[:8192]:
            yield name, content.decode("utf-8", errors="replace")


def machine_mentions(name: str, text: str) -> list[str]:
    """Lines of a text that hold for one machine only: paths and registry addresses."""
    return [f"{name}:{line}: {match[0]}" for line, row in enumerate(text.splitlines(), 1) if (match := MACHINE.search(row))]


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio of two `#RRGGBB` colours, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_layout_of_this_repository_keeps_the_rules() -> None:
    assert (ROOT / LIBRARY / "metrics.py").is_file()
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("medfuncta_core/grids.py", "import medfuncta_core.fitting", "1: grids comes before fitting"),
        ("medfuncta_core/grids.py", "from medfuncta_core import fields", "1: grids comes before fields"),
        ("medfuncta_core/grids.py", "from . import fields", "1: grids comes before fields"),
        ("medfuncta_core/fields/siren.py", "from ..fitting import Fitter", "1: fields comes before fitting"),
        ("medfuncta_core/fields/__init__.py", "from ..learning.inner import step", "1: fields comes before learning"),
        ("medfuncta_core/checkpoint.py", "def f():\n    from medfuncta_core.fitting import Fitter", "2: checkpoint comes before"),
        ("medfuncta_core/config.py", "if TYPE_CHECKING:\n    import medfuncta_core.cli", "2: config comes before cli"),
        ("medfuncta_core/runs/store.py", "from medfuncta_core import Fitter", "1: import from the module that defines it"),
        ("medfuncta_core/extras.py", "", ": extras has no place in the import order"),
        ("medfuncta_core/runs/store.py", "import streamlit as st", "1: the library knows nothing of the app"),
        ("medfuncta_core/cli.py", "from pages.shared import state", "1: the library knows nothing of the app"),
        ("medfuncta_core/mednf/embed.py", "import plotly.express as px", "1: plotly is for medfuncta_core/figures/ only"),
        ("pages/fit.py", "from matplotlib import pyplot", "1: matplotlib is for"),
        ("pages/fit.py", "import numpy as np", "1: numpy belongs in the library"),
        ("pages/shared/state.py", "from torch import Tensor", "1: torch belongs in the library"),
        ("app.py", "import torch.nn as nn", "1: torch belongs in the library"),
        ("pages/fit.py", "import streamlit as st\nst.session_state['a'] = 1", "2: session_state is for pages/shared only"),
        ("app.py", "import streamlit as st\n@st.cache_data\ndef f(): ...", "2: cache_data is for pages/shared only"),
        ("pages/fit.py", "from streamlit import cache_resource", "1: cache_resource is for pages/shared only"),
        ("medfuncta_core/checkpoint/official.py", "from pickle import loads", "1: unpickling runs code"),
        ("medfuncta_core/checkpoint/official.py", "torch.load(f, weights_only=False)", "1: weights_only=False would run code"),
        ("medfuncta_core/signals/npy.py", "np.load(f, allow_pickle=True)", "1: allow_pickle=True would run code"),
        ("medfuncta_core/metrics.py", "x = 1\n" * 351, ": 351 lines, more than 350"),
        ("benchmarks/speed.py", "x = 1\n" * 351, ": 351 lines, more than 350"),
    ],
)
def test_layout_rules_catch(tmp_path: Path, file: str, text: str, reason: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    (found,) = problems(tmp_path)
    assert found.startswith(f"{file}:")
    assert reason in found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("medfuncta_core/fitting.py", "from medfuncta_core.checkpoint import load_checkpoint\nimport torch, numpy"),
        ("medfuncta_core/signals/read.py", "from medfuncta_core.signals.signal import Signal\nfrom .npy import read"),
        ("medfuncta_core/__init__.py", "from medfuncta_core.fitting import Fitter"),
        ("medfuncta_core/figures.py", "import plotly.graph_objects as go"),
        ("medfuncta_core/figures/ecg.py", "import plotly.graph_objects as go"),
        ("medfuncta_core/cli.py", "from medfuncta_core import figures\nfrom medfuncta_core.runs import store"),
        ("pages/shared/state.py", "import streamlit as st\nst.session_state['a'] = 1\n@st.cache_resource\ndef f(): ..."),
        ("pages/fit.py", "from medfuncta_core import Fitter\nfrom pages.shared import state\nimport streamlit as st"),
        ("medfuncta_core/metrics.py", "x = 1\n" * 350),
        ("medfuncta_core/signals/npy.py", "np.load(f, allow_pickle=False)\ntorch.load(f, weights_only=True)"),
    ],
)
def test_layout_rules_let_pass(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert problems(tmp_path) == []


def test_repository_mentions_no_machine() -> None:
    texts = dict(repository_texts(ROOT))
    assert "pyproject.toml" in texts
    assert [mention for name, text in texts.items() for mention in machine_mentions(name, text)] == []


def test_machine_mentions_are_found_and_others_are_not() -> None:
    home, option, local = "/ho" + "me/anna/scan.png", "--index" + "-url", "C:" + "\\Users\\anna"
    bad = f"see {home}\npip install {option} https://a.b\nor {local}\n"
    assert machine_mentions("notes.md", bad) == [
        "notes.md:1: /ho" + "me/a",
        f"notes.md:2: {option}",
        "notes.md:3: C:" + "\\Users\\",
    ]
    assert machine_mentions("notes.md", "https://a.org/home/b ./home/c ~/home/d ../shared/data 1/home/2") == []


def test_streamlit_settings_keep_the_app_private_and_small() -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["server"]["maxUploadSize"] == 256
    assert settings["browser"]["gatherUsageStats"] is False


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_theme_contrasts_reach_wcag_aa(mode: str) -> None:
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"][mode]
    primary, background, secondary = theme["primaryColor"], theme["backgroundColor"], theme["secondaryBackgroundColor"]
    for ground in (background, secondary):
        assert contrast(theme["textColor"], ground) >= 4.5
        assert contrast(theme["linkColor"], ground) >= 4.5
        assert contrast(primary, ground) >= 3  # outlines, tracks and marks
    assert contrast(primary, background) >= 4.5  # the open tab's name, a slider's value
    assert contrast(primary, "#FFFFFF") >= 4.5  # Streamlit writes white on primary buttons


def test_contrast_matches_numbers_by_hand() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1
    assert contrast("#FFFFFF", "#767676") == pytest.approx(4.54, abs=0.01)

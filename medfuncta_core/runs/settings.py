"""`--set key=value`: changes to a preset, checked and converted by the configuration models themselves."""

from __future__ import annotations

import difflib
from typing import Any

from medfuncta_core.config import FieldConfig, FitConfig, MetaConfig, Preset
from medfuncta_core.errors import ConfigError

GROUPS: dict[str, type[FieldConfig] | type[MetaConfig] | type[FitConfig]] = {
    "field": FieldConfig,
    "meta": MetaConfig,
    "fit": FitConfig,
}


def apply_settings(preset: Preset, settings: list[str]) -> Preset:
    """The preset with some of its settings changed.

    Args:
        preset: What to start from.
        settings: `meta.batch_size=4`, or `batch_size=4` where only one group has such a key; `none` unsets an optional value.
            Later ones win.

    Raises:
        ConfigError: for an unknown or ambiguous key (naming what comes near), or a value that the key does not allow.
    """
    changes: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for setting in settings:
        key, separator, value = (part.strip() for part in setting.partition("="))
        if not separator:
            raise ConfigError(f"--set {setting}: write key=value, such as meta.batch_size=4")
        group, name = _find(key)
        changes[group][name] = None if value.lower() in ("none", "null") else value
    parts: dict[str, Any] = {}
    for group, model in GROUPS.items():
        values = getattr(preset, group).model_dump() | changes[group]
        parts[group] = model.parse(values, f"--set {group}") if changes[group] else getattr(preset, group)
    return preset.model_copy(update=parts)


def _find(key: str) -> tuple[str, str]:
    known = [f"{group}.{name}" for group, model in GROUPS.items() for name in model.model_fields]
    matches = [full for full in known if key in (full, full.partition(".")[2])]
    if len(matches) == 1:
        group, _, name = matches[0].partition(".")
        return group, name
    if matches:
        raise ConfigError(f"--set {key}: there are {' and '.join(matches)}; write which")
    short = {full.partition(".")[2]: full for full in reversed(known)}
    near = [short.get(name, name) for name in difflib.get_close_matches(key, [*known, *short], n=6, cutoff=0.5)]
    hint = f"did you mean {' or '.join(list(dict.fromkeys(near))[:3])}?" if near else f"its groups are {', '.join(GROUPS)}"
    raise ConfigError(f"--set {key}: no such setting; {hint}")

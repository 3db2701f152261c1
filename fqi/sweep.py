"""A sweep: options in which the members of one run differ, and every combination of their values."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from fqi.errors import UserError
from fqi.options import base_types


def typed(texts: Sequence[str], kinds: Sequence[type[Any]]) -> dict[str, list[Any]]:
    """What was typed, such as `lr=1e-3,3e-4`, as values by the name of an option of these settings."""
    fields = {f.name: f for kind in kinds for f in dataclasses.fields(kind)}
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not rest.strip():
            raise UserError(f"--sweep must be OPTION=VALUE,VALUE,… such as lr=1e-3,3e-4; found {text!r}")
        if name not in fields:
            raise UserError(f"--sweep {flagged(name)}: no such option")
        if name in found:
            raise UserError(f"--sweep {flagged(name)} is given twice; give all its values at once")
        found[name] = [_typed(part.strip(), fields[name]) for part in rest.split(",")]
    return found


def _typed(text: str, field: dataclasses.Field[Any]) -> Any:
    """One value; what is no number where one is wanted stays a text, and is refused with the option's own words."""
    kinds = base_types(field)
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def grid(swept: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Every combination of the values, the last option changing fastest."""
    for name, options in swept.items():
        if not isinstance(options, list | tuple) or len(options) < 2:
            raise UserError(f"{where}: a sweep of {flagged(name)} needs two values or more, found {options!r}")
        if len(set(map(repr, options))) < len(options):
            raise UserError(
                f"{where}: a sweep of {flagged(name)} names a value twice: {', '.join(map(plain, options))}"
            )
    return [dict(zip(swept, chosen, strict=True)) for chosen in itertools.product(*swept.values())]


def flagged(name: str) -> str:
    """An option's name as it is typed."""
    return name.replace("_", "-")


def plain(value: Any) -> str:
    """A value as it is typed."""
    return f"{value:g}" if isinstance(value, float) else str(value)

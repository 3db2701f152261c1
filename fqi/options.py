"""Settings as frozen dataclasses: the one home of every option's default, help and bounds.

The command line, the TOML file and the run directory are all derived from these fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from fqi.errors import UserError

T = TypeVar("T")
CODE = "py:MODULE:CALLABLE"  # among choices it stands for every text that begins with py:


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    only: tuple[str, Any] | None = None,
    sweep: bool = False,
) -> Any:
    """A field with one sentence of help, and what values it may take: low <= value <= high, value > above.

    `only` names another field and the value that it must have for this one to matter, or a tuple of such values; True:
    any but 0. `sweep`: the members of one run may differ in it.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": choices, "only": only}
    metadata["sweep"] = sweep
    return dataclasses.field(default=default, metadata=metadata)


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """The settings with these values; an unknown name, a wrong type, a value out of bounds or one that has no effect is
    an error."""
    built = kind(**check(kind, values, where))
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        _refuse_idle(built, field, where)
    return built


def check(kind: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """These values, each one right by itself."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown option {name!r}; known are {', '.join(sorted(known))}")
    return {name: _checked(known[name], value, where) for name, value in values.items()}


def _refuse_idle(settings: Any, field: dataclasses.Field[Any], where: str) -> None:
    """Refuse a value, other than the default, that another setting robs of its effect."""
    only = field.metadata["only"]
    if only is None or getattr(settings, field.name) == field.default:
        return
    other, wanted = only
    found = getattr(settings, other)
    fitting = wanted if isinstance(wanted, tuple) else (wanted,)
    if (bool(found) if wanted is True else found) not in fitting:
        name, needed = field.name.replace("_", "-"), "above 0" if wanted is True else " or ".join(map(str, fitting))
        raise UserError(f"{where}: {name} has an effect only with {other.replace('_', '-')} {needed}, found {found!r}")


def _checked(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    name = f"{where}: {field.name.replace('_', '-')}"
    kinds = base_types(field)
    if value is None and type(None) in kinds:
        return None
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, tuple(kinds)) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds if k is not type(None))
        raise UserError(f"{name} must be {wanted}, found {value!r}")
    rule = field.metadata
    called = CODE in rule["choices"] and str(value).startswith("py:")
    if rule["choices"] and value not in rule["choices"] and not called:
        raise UserError(f"{name} must be one of {', '.join(rule['choices'])}, found {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            raise UserError(f"{name} must be a number, found {value!r}")
        if rule["low"] is not None and value < rule["low"]:
            raise UserError(f"{name} must be at least {rule['low']}, found {value!r}")
        if rule["above"] is not None and value <= rule["above"]:
            raise UserError(f"{name} must be greater than {rule['above']}, found {value!r}")
        if rule["high"] is not None and value > rule["high"]:
            raise UserError(f"{name} must be at most {rule['high']}, found {value!r}")
    return value


_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}


def base_types(field: dataclasses.Field[Any]) -> tuple[type, ...]:
    """The types in an annotation such as `int | None`."""
    return tuple(_TYPES[part.strip()] for part in str(field.type).split("|"))


def parse(field: dataclasses.Field[Any], text: str, where: str) -> Any:
    """The value that this text means for the field."""
    name, kinds = f"{where}: {field.name.replace('_', '-')}", base_types(field)
    if type(None) in kinds and text == "none":
        return None
    if bool in kinds:
        if text not in ("true", "false"):
            raise UserError(f"{name} must be true or false, found {text!r}")
        return text == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return _checked(field, kind(text), where)
            except ValueError:
                continue
    if str not in kinds:
        wanted = " or ".join(k.__name__ for k in kinds if k is not type(None))
        raise UserError(f"{name} must be {wanted}, found {text!r}")
    return _checked(field, text, where)

"""Which columns of a table are what: typed as flags, written in a small TOML file, or guessed from plain names."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fqi.datasets.formats.options import MappingOptions
from fqi.errors import UserError
from fqi.options import check

Columns = dict[str, tuple[str, ...]]  # by the path of a leaf (the empty string: a plain array), its columns

_SEVERAL = ("observation", "next_observation", "action", "label", "origin")
_NESTS = ("observation", "next_observation")
_SAID = (
    "observation_space",
    "action_space",
    "behaviours",
    "record",
    "provenance",
    "dtypes",
)  # what only a written mapping says


@dataclass(frozen=True)
class Mapping:
    """The options with their columns found, and what a table written by fqi says of itself beside them."""

    options: MappingOptions
    several: dict[str, Columns] = field(default_factory=dict)  # by role
    said: dict[str, Any] = field(default_factory=dict)
    where: str = "the mapping"
    guessed: tuple[str, ...] = ()  # roles that nobody named

    def columns(self, role: str) -> Columns:
        return self.several.get(role, {})

    def single(self, role: str) -> str | None:
        found: str | None = getattr(self.options, role)
        return found

    def used(self) -> dict[str, str]:
        """Every column that is read, and the role that it plays."""
        found = {name: role for role, nest in self.several.items() for names in nest.values() for name in names}
        for role in _ROLES:
            if role not in _SEVERAL and self.single(role) is not None:
                found.setdefault(str(self.single(role)), role)
        return found


_ROLES = tuple(
    name
    for name in (f.name for f in dataclasses.fields(MappingOptions))
    if name not in ("step_means", "done_means", "time_limit", "ends", "mask_means", "environment", "actions")
)

# Names that mean one thing only, wherever they are seen; anything else must be said.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "episode": (
        "episode", "episode_id", "episode_index", "episode_number", "trajectory", "trajectory_id", "traj_id", "mdp_id",
    ),
    "step": ("step", "step_id", "step_index", "step_number", "timestep", "time_step", "sequence_number"),
    "observation": ("observation", "observations", "obs", "state", "states", "state_features"),
    "next_observation": ("next_observation", "next_observations", "next_obs", "next_state", "next_states"),
    "action": ("action", "actions"),
    "label": ("label", "expert_action"),
    "reward": ("reward", "rewards"),
    "termination": ("termination", "terminations", "terminated", "terminal", "terminals", "is_terminal"),
    "truncation": ("truncation", "truncations", "truncated", "timeout", "timeouts"),
    "done": ("done", "dones", "is_done"),
    "is_first": ("is_first",),
    "is_last": ("is_last",),
    "propensity": ("propensity", "action_probability", "pscore", "behaviour_probability", "behavior_probability"),
    "mask": ("action_mask", "possible_actions", "legal_actions", "possible_actions_mask"),
    "next_mask": ("next_action_mask", "next_possible_actions", "next_legal_actions"),
    "behaviour": ("behaviour", "behavior", "behaviour_policy", "behavior_policy"),
}  # fmt: skip
_REAGENT = {"mdp_id", "sequence_number", "state_features", "action", "reward"}


def from_toml(path: Path) -> dict[str, Any]:
    """What a TOML mapping says."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the mapping cannot be read ({error.strerror})") from error
    return from_text(text, str(path))


def from_text(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: expected a mapping as TOML, found damage ({error})") from error


def build(said: dict[str, Any], names: Sequence[str], table: str, where: str) -> Mapping:
    """The mapping that this says of a table with these columns; what it does not say is guessed where it is plain."""
    options = {key: value for key, value in said.items() if key not in _SAID}
    several: dict[str, Columns] = {}
    for role in _SEVERAL:
        value = options.get(role)
        if isinstance(value, list | dict):
            several[role] = _listed(value, role, where)
            options.pop(role)
    if isinstance(options.get("actions"), list):
        options["actions"] = ",".join(_texts(options["actions"], "actions", where))
    settings = MappingOptions(**check(MappingOptions, options, where))
    guessed = _guess(settings, several, names, table)
    settings = dataclasses.replace(settings, **guessed)
    single = {role: getattr(settings, role) for role in _ROLES if role not in _SEVERAL}
    named: dict[str, Any] = {role: _spelt(name, names) for role, name in single.items() if name is not None}
    settings = dataclasses.replace(settings, **named)
    for role in _SEVERAL:
        value = getattr(settings, role)
        if value is not None:
            several[role] = {"": tuple(value.split(","))}
    several = {
        role: {path: _expanded(wanted, names, f"{table}: {role}") for path, wanted in nest.items()}
        for role, nest in several.items()
    }
    mapping = Mapping(settings, several, {k: v for k, v in said.items() if k in _SAID}, where, tuple(guessed))
    _check(mapping, names, table)
    return mapping


def lenient(said: dict[str, Any], names: Sequence[str]) -> MappingOptions:
    """What is known of a table of which too little is known, for a mapping to be completed by hand."""
    fields = {f.name for f in dataclasses.fields(MappingOptions)}
    found: dict[str, Any] = {k: v for k, v in said.items() if k in fields and isinstance(v, str | int)}
    options = MappingOptions(**found)
    for role, synonyms in SYNONYMS.items():
        matches = [name for name in names if name.strip().lower() in synonyms]
        if len(matches) == 1 and getattr(options, role) is None:
            found[role] = matches[0]
    return dataclasses.replace(options, **found)


def _listed(value: Any, role: str, where: str) -> Columns:
    if isinstance(value, list):
        return {"": tuple(_texts(value, role, where))}
    if role not in _NESTS:
        raise UserError(f"{where}: {role}: expected names of columns, found {value!r}")
    nest: Columns = {}
    for path, names in value.items():
        names = [names] if isinstance(names, str) else names
        nest[str(path)] = tuple(_texts(names, f"{role}.{path}", where))
    if not nest or "" in nest:
        raise UserError(f"{where}: {role}: expected named parts with their columns, found {value!r}")
    return nest


def _texts(value: Any, role: str, where: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise UserError(f"{where}: {role}: expected a list of names, found {value!r}")
    return value


def _expanded(wanted: Iterable[str], names: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns of these names; `obs*` stands for all that begin so and end in a number, by that number."""
    found: list[str] = []
    for name in wanted:
        name = _spelt(name, names)
        if name.endswith("*") and name not in names:
            stem = name[:-1]
            numbered = {n: m for n in names if (m := re.fullmatch(re.escape(stem) + r"[._\[]?(\d+)\]?", n))}
            if not numbered:
                raise UserError(f"{where}: no column is called {stem} and a number; columns are {_few(names)}")
            found += sorted(numbered, key=lambda n: (int(numbered[n][1]), n))
        else:
            found.append(name)
    twice = next((name for name in found if found.count(name) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise UserError(f"{where}: the column {twice!r} is named twice")
    return tuple(found)


def _spelt(name: str, names: Sequence[str]) -> str:
    """The column of this name, though the header may have blanks around it."""
    if name in names:
        return name
    return next((known for known in names if known.strip() == name.strip()), name.strip())


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check(mapping: Mapping, names: Sequence[str], table: str) -> None:
    options = mapping.options
    for name, role in mapping.used().items():
        if name not in names:
            raise UserError(f"{table}: {role}: there is no column {name!r}; columns are {_few(names)}")
    for role in ("observation", "action", "reward"):
        if not mapping.columns(role) and getattr(options, role) is None:
            raise UserError(
                f"{table}: which column is the {role}? expected a name such as {SYNONYMS[role][0]!r} or "
                f"--{role} COLUMN, found {_few(names)}; `fqi data convert {table} --suggest` begins a mapping"
            )
    if options.next_observation is not None or "next_observation" in mapping.several:
        mine, theirs = mapping.columns("observation"), mapping.columns("next_observation")
        if {k: len(v) for k, v in mine.items()} != {k: len(v) for k, v in theirs.items()}:
            raise UserError(
                f"{table}: next_observation: expected as many columns as observation has, found {_shape(theirs)} "
                f"beside {_shape(mine)}"
            )
    if len(mapping.columns("origin").get("", ("", ""))) != 2:
        raise UserError(f"{table}: origin: expected two columns, found {mapping.columns('origin')['']}")
    _check_ends(options, table)


def _shape(nest: Columns) -> str:
    return ", ".join(f"{len(names)} of {path}" if path else str(len(names)) for path, names in nest.items())


def _check_ends(options: MappingOptions, table: str) -> None:
    if options.done is not None:
        if options.termination is not None and options.truncation is not None:
            raise UserError(f"{table}: done: has no effect beside termination and truncation; name either")
        if (
            options.termination is None
            and options.truncation is None
            and not (options.done_means or options.time_limit)
        ):
            raise UserError(
                f"{table}: the column {options.done!r} merges episodes that ended with those that were cut, which "
                "would make targets wrong; say what it stands for by --done-means termination (or truncation), or give "
                "--time-limit STEPS"
            )
        if options.done_means and options.time_limit:
            raise UserError(f"{table}: give --done-means or --time-limit, not both")
    elif options.done_means is not None or options.time_limit is not None:
        raise UserError(f"{table}: --done-means and --time-limit have an effect only with --done COLUMN")
    if options.is_last is not None:
        if options.done is not None or options.ends is not None or options.truncation is not None:
            raise UserError(f"{table}: with is_last the ends are known; leave out done, truncation and ends")
    elif options.termination is None and options.done is None and options.ends is None:
        if options.truncation is not None:
            raise UserError(
                f"{table}: which column is the termination? only truncation is known; name it by --termination COLUMN, "
                "or say by --ends termination that episodes which were not cut ended by themselves"
            )
        raise UserError(
            f"{table}: how do episodes end? expected --termination COLUMN (and --truncation COLUMN), or "
            "--ends termination or truncation if all of them end alike"
        )
    if options.episode is None and options.is_first is None and options.is_last is None:
        if options.termination is None and options.truncation is None and options.done is None:
            raise UserError(f"{table}: which column tells episodes apart? expected --episode COLUMN")
        if options.ends is not None:
            raise UserError(f"{table}: --ends has an effect only with --episode COLUMN")
    if options.step is not None and options.episode is None:
        raise UserError(f"{table}: --step has an effect only with --episode COLUMN")
    if options.is_first is not None and options.is_last is None:
        raise UserError(f"{table}: is_first needs is_last beside it")
    if options.mask is None and (options.next_mask is not None or options.mask_means is not None):
        raise UserError(f"{table}: --next-mask and --mask-means have an effect only with --mask COLUMN")


def _guess(options: MappingOptions, several: dict[str, Columns], names: Sequence[str], table: str) -> dict[str, Any]:
    """The roles that nobody named and that the names of columns leave no doubt about."""
    taken = {name for nest in several.values() for wanted in nest.values() for name in wanted}
    taken |= {str(getattr(options, role)) for role in _ROLES if getattr(options, role) is not None}
    lower = {name: name.strip().lower() for name in names}
    found: dict[str, Any] = {}
    for role, synonyms in SYNONYMS.items():
        if role in several or getattr(options, role) is not None:
            continue
        matches = [name for name in names if lower[name] in synonyms and name not in taken]
        if role in _SEVERAL:
            stems = dict.fromkeys(re.sub(r"[._\[]?\d+\]?$", "", name) for name in names if name not in taken)
            numbered = [stem for stem in stems if stem not in names and stem.strip().lower() in synonyms]
            matches += [f"{stem}*" for stem in numbered]
        if len(matches) > 1:
            raise UserError(
                f"{table}: {role}: both {matches[0]!r} and {matches[1]!r} may be meant; name it by "
                f"--{role.replace('_', '-')}"
            )
        if matches:
            found[role] = matches[0]
    return _sensible(options, found, names)


def _sensible(options: MappingOptions, found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Leave out guesses that what was said makes idle."""
    said = {f.name for f in dataclasses.fields(options) if getattr(options, f.name) is not None} - {"step_means"}
    if "episode" not in said and "episode" not in found:
        found.pop("step", None)
    if "is_last" in said or "is_last" in found:
        found.pop("truncation", None)
        found.pop("done", None)
    else:
        found.pop("is_first", None)
    if {"termination", "truncation"} & (said | set(found)) or {"ends"} & said:
        found.pop("done", None)
    if "done" in said:
        found.pop("termination", None)
        found.pop("truncation", None)
    if set(names) >= _REAGENT and not {"termination", "truncation", "done", "ends"} & (said | set(found)):
        found["ends"] = "termination"  # in this layout an episode is over when its rows are
    return found


def to_toml(mapping: Mapping, samples: dict[str, str] | None = None, heading: Sequence[str] = ()) -> str:
    """The mapping as a TOML file, with a comment on every option; those not in use are commented out."""
    samples = samples or {}
    lines = [f"# {line}".rstrip() for line in heading]
    tables: list[str] = []
    for known in dataclasses.fields(MappingOptions):
        help_ = re.sub(r" ?\[default:.*", "", known.metadata["help"])
        choices = f" ({' | '.join(known.metadata['choices'])})" if known.metadata["choices"] else ""
        value: Any = getattr(mapping.options, known.name)
        nest = mapping.several.get(known.name)
        if nest is not None:
            value = list(nest[""]) if list(nest) == [""] else nest
            plain = isinstance(value, list) and len(value) == 1 and not set(",*") & set(value[0])
            value = value[0] if plain and isinstance(value, list) else value
        if isinstance(value, dict):
            tables += ["", f"# {help_}", f"[{known.name}]"]
            tables += [f"{_quoted(path)} = {_toml(list(names))}" for path, names in value.items()]
            continue
        if value is None:
            lines += ["", f"# {help_}{choices}", f"# {known.name} ="]
        else:
            first = value[0] if isinstance(value, list) else value
            sample = f"  # such as {samples[first]}" if first in samples else ""
            lines += ["", f"# {help_}{choices}", f"{known.name} = {_toml(value)}{sample}"]
    for name, value in mapping.said.items():
        literal = "'" not in value and value.isprintable()  # JSON is full of quotation marks
        lines += ["", f"{name} = '{value}'" if literal else f"{name} = {_toml(value)}"]
    return "\n".join(lines + tables) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped and JSON does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Who takes part in a comparison, as a user names them: `bc`, `dqn:steps=20000`, `fqi:target=mean,n-step=3`, a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fqi.baselines.settings import CloneSettings, DaggerSettings, DqnSettings, OfflineDqnSettings
from fqi.errors import UserError
from fqi.options import build, check, option, parse
from fqi.regressors import REGRESSORS
from fqi.run import Run
from fqi.settings import TrainSettings


@dataclass(frozen=True)
class DaggerEntry(DaggerSettings):
    """DAgger in a comparison."""

    begin: str = option(
        "nothing",
        "Begin with nothing, or with the log, whose states the expert then labels.",
        choices=("nothing", "log"),
    )


RUNGS = {"dqn": "v3", "dqn-v1": "v1", "dqn-v2": "v2"}
SETTINGS: dict[str, type[Any]] = {
    "bc": CloneSettings,
    "dagger": DaggerEntry,
    "offline-dqn": OfflineDqnSettings,
    **dict.fromkeys(RUNGS, DqnSettings),
}
KINDS = ("fqi", *SETTINGS)
REFERENCES = ("behaviour", "random", "expert")
_GIVEN = {"seed": "--seed", "seeds": "--seeds", "rung": "dqn-v1, dqn-v2 or dqn"}  # said in another way


@dataclass(frozen=True)
class Entry:
    """A learner and what the user set of its options."""

    name: str  # as typed
    kind: str  # one of KINDS, run, or one of REFERENCES
    given: dict[str, Any] = field(default_factory=dict)


def entry(text: str) -> Entry:
    """The learner that this text names: NAME, NAME:key=value,… or the folder of a run."""
    kind, _, options = text.partition(":")
    if kind in KINDS:
        return Entry(text, kind, _given(text, kind, options))
    if Path(text, "run.json").is_file():
        if labels := _settings_of_sweep(Path(text)):
            raise UserError(
                f"{text} is a sweep of {len(labels)} settings ({'; '.join(labels)}), and a comparison plays runs of "
                "one; `fqi report` compares its settings, or train the one that is meant in a run of its own"
            )
        return Entry(text, "run")
    known = ", ".join(KINDS)
    if Path(text).exists():
        raise UserError(f"{text}: expected a run directory or one of {known}; found neither")
    raise UserError(f"there is no learner {text!r}: choose among {known}, or name a run directory")


def _settings_of_sweep(path: Path) -> list[str]:
    config = Run.open(path).config
    return config.labels if config.sweep else []


def entries(texts: Sequence[str]) -> list[Entry]:
    """All of them; a name may stand there once only."""
    found = [entry(text) for text in texts]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the learner {name!r} is named twice")
    return found


def _given(text: str, kind: str, options: str) -> dict[str, Any]:
    """The typed options of one learner, each right by itself."""
    if not options and text != kind:
        raise UserError(f"{text!r}: expected key=value behind the colon, found nothing")
    fields = _fields(kind)
    given: dict[str, Any] = {}
    for part in options.split(",") if options else ():
        key, equals, value = part.partition("=")
        name = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"{text!r}: expected key=value, found {part!r}")
        if name in _GIVEN and name in fields:
            raise UserError(f"{text!r}: {key} is the same for all learners; say it by {_GIVEN[name]}")
        if name not in fields:
            raise UserError(f"{text!r}: {kind} has no option {key!r}; it has {', '.join(sorted(_shown(fields)))}")
        if name in given:
            raise UserError(f"{text!r}: {key} is given twice")
        given[name] = parse(fields[name], value.strip(), f"{text!r}")
    if kind in SETTINGS:
        check(SETTINGS[kind], given, f"{text!r}")
    return given


def _fields(kind: str) -> dict[str, dataclasses.Field[Any]]:
    kinds: Iterable[type[Any]] = (
        (TrainSettings, *(regressor.settings for regressor in REGRESSORS.values()))
        if kind == "fqi"
        else (SETTINGS[kind],)
    )
    return {f.name: f for settings in kinds for f in dataclasses.fields(settings)}


def _shown(fields: Mapping[str, Any]) -> list[str]:
    return [name.replace("_", "-") for name in fields if name not in _GIVEN]


def settings_of(one: Entry, shared: Mapping[str, Any]) -> Any:
    """The settings of a baseline: what the user typed, else what all learners share, else defaults."""
    kind = SETTINGS[one.kind]
    names = {f.name for f in dataclasses.fields(kind)}
    values = {name: value for name, value in shared.items() if name in names} | one.given
    if one.kind in RUNGS:
        values["rung"] = RUNGS[one.kind]
    return build(kind, values, f"{one.name!r}")

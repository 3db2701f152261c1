"""What is set side by side: a label, and the rows that a run logged for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fqi.errors import UserError
from fqi.run import Run
from fqi.settings import read_toml

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One of several: a whole run, or some members of one that a sweep trained with settings of their own."""

    label: str
    run: str  # its path
    log: str  # fingerprint of what it was trained on
    environment: str
    settings: Mapping[str, Any]  # flat, as they are typed
    metrics: Rows
    evaluations: Rows
    audit: Rows = field(default_factory=list)
    exact: Rows = field(default_factory=list)
    command: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, run: Run, label: str, members: Sequence[int] | None = None, settings: Mapping[str, Any] | None = None
    ) -> Entry:
        """A run, or these members of it as if they were all; `settings` are theirs where they differ from the run's."""
        record = run.record

        def own(rows: Rows) -> Rows:
            if members is None:
                return rows
            place = {member: i for i, member in enumerate(members)}
            return [{**row, "member": place[row["member"]]} for row in rows if row["member"] in place]

        known = flat(read_toml(run.path / "config.toml")) | dict(settings or {})
        environment = str((record["environment"] or {}).get("id") or "unnamed")
        return cls(
            label, str(run.path), record["log"]["fingerprint"], environment, known, own(run.metrics),
            own(run.evaluations), own(run.measured("audit")), own(run.measured("exact")),
            record["command"], record["versions"],
        )  # fmt: skip


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with the names that are typed."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def entries_of(runs: Sequence[Run]) -> list[Entry]:
    """An entry for each run, by the shortest names that tell them apart."""
    paths = [run.path.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise UserError("the same run is named twice; name several different ones")
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    return [Entry.of(run, name) for run, name in zip(runs, names, strict=True)]


def differing(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    """The settings in which they differ, with the value of each; None where it has no such setting."""
    names = dict.fromkeys(name for entry in entries for name in entry.settings)
    values = {name: [entry.settings.get(name) for entry in entries] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}

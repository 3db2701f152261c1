"""`fqi data`: look at logs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import typer

from fqi.cli import convert, data_check, data_report
from fqi.cli.data_check import LogArgument
from fqi.cli.shared import LOGS, Json, counted, newest, show

app = typer.Typer(
    help="Look at logs, mend them, and make logs of logs: convert, merge, split, filter.", no_args_is_help=True
)
app.command("check")(data_check.check)
app.command("report")(data_report.report)
app.command("repair")(data_check.repair)
app.command("convert")(convert.convert)
app.command("merge")(convert.merge)
app.command("split")(convert.split)
app.command("filter")(convert.filter_)
app.command("head")(convert.head)


@app.command("info")
def info(log: LogArgument = None, json: Json = False) -> None:
    """What is inside: sizes, episode lengths, returns, actions, behaviours, coverage; everything else by --json."""
    from fqi.datasets.describe import describe
    from fqi.datasets.load import affordable, load_log

    reference = str(newest(LOGS, "log", "fqi collect")) if log is None else log
    description = describe(load_log(reference, memory=affordable()))
    lines = _page(reference, description)
    if description["actions"]["kind"] == "discrete":  # Q has one output per action
        lines.append(f"next: fqi train {shlex.quote(reference)} --iterations 100")
    show({"log": reference, **description}, json, lines)


_ROWS = 10  # of a table; the rest is counted, and --json has them all
_SPREAD = ("mean", "std", "min", "5 %", "50 %", "95 %", "max")


def _page(reference: str, found: dict[str, Any]) -> list[str]:
    """The description for a reader: what, how many, and how it is spread; a label, then what it says."""
    environment = found["environment"] or {}
    ends = f"{found['terminated']:,} terminated, {found['truncated']:,} truncated"
    lines = [
        *_part("log", [f"{reference}{', an unfinished collection' if found['provenance'].get('unfinished') else ''}"]),
        *_part("environment", [environment.get("id", "not named"), *_limit(environment)], joined=True),
        *_part("size", [f"{counted(found['steps'], 'step')} in {counted(found['episodes'], 'episode')} ({ends})"]),
        *_part("collected", _collected(found["provenance"])),
        *_part("observations", [_space(found["observation_space"])]),
        *_part("actions", [_space(found["action_space"])]),
        "",
        *_spreads({
            "length": found["length"],
            "return": found["return"],
            "reward": found["rewards"],
            "propensity": found["propensity"],
        }),
        "",
        *_actions(found["actions"]),
        *_behaviours(found["behaviours"]),
        *_coverage(found["coverage"]),
    ]  # fmt: skip
    mask = found["action_mask"]
    if mask is not None:
        lines += _part("legal", [f"{mask['legal_share']:.1%} of the actions, by the log's mask"])
    return lines + _part("checksum", [f"{found['checksum']}, {found['bytes'] / 2**20:,.1f} MiB in memory"])


def _part(label: str, says: list[str], joined: bool = False) -> list[str]:
    """Lines behind their label, which stands before the first one alone."""
    says = [", ".join(says)] if joined else says
    return [
        f"{label if first else '':14}{line}".rstrip()
        for first, line in zip([True, *[False] * len(says)][: len(says)], says, strict=True)
    ]


def _limit(environment: dict[str, Any]) -> list[str]:
    limit = environment.get("max_episode_steps")
    kwargs = environment.get("kwargs")
    return [*([f"at most {limit:,} steps an episode"] if limit else []), *([_short(kwargs)] if kwargs else [])]


def _collected(provenance: dict[str, Any]) -> list[str]:
    how = provenance.get("collected")
    if not isinstance(how, dict):
        said = {k: v for k, v in provenance.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
        return [_short(said)] if said else []
    policies = " + ".join(map(str, how.get("policies", [])))
    mixed = f", mixed by {how.get('mix')}" if len(how.get("policies", [])) > 1 else ""
    cut = "; the last episode is cut" if provenance.get("last_episode_cut") else ""
    return [f"by {policies}{mixed}, seed {how.get('seed')}, {how.get('envs')} environments side by side{cut}"]


def _space(space: dict[str, Any]) -> str:
    kind = space.get("type", "?")
    if "subspaces" in space:
        parts = space["subspaces"]
        named = parts.items() if isinstance(parts, dict) else enumerate(parts)
        return f"{kind} of " + ", ".join(f"{name}: {_space(part)}" for name, part in named)
    if kind == "Discrete":
        start = space.get("start", 0)
        return f"Discrete, {space['n']:,} values" + (f" from {start}" if start else "")
    size = space.get("shape") or space.get("nvec") or space.get("n")
    return f"{kind} {size}" + (f" of {space['dtype']}" if "dtype" in space else "")


def _spreads(rows: Mapping[str, dict[str, Any] | None]) -> list[str]:
    """A table of means, spreads and quantiles."""
    table = [["", *_SPREAD]]
    for label, row in rows.items():
        if row and row["count"]:
            of = row["quantiles"]
            cells = [row["mean"], row["std"], row["min"], of["0.05"], of["0.5"], of["0.95"], row["max"]]
            table.append([label, *map(_number, cells)])
    return _aligned(table)


def _aligned(table: list[list[str]], indent: int = 14) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    widths[0] = max(widths[0], indent - 2)
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in table
    ]


def _actions(actions: dict[str, Any]) -> list[str]:
    if actions["kind"] == "discrete":
        rows = actions["counts"]
        table = [[f"action {row['action']}", f"{row['count']:,}", f"{row['share']:.1%}"] for row in rows[:_ROWS]]
        return [*_aligned(table), *_rest(len(rows)), ""] if table else []
    return _dimensions("action", actions["dimensions"])


def _behaviours(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    table = [["behaviour", "steps", "share", "episodes", "mean return"]]
    for row in rows[:_ROWS]:
        shares = [f"{row['steps']:,}", f"{row['share']:.1%}", f"{row['episodes']:,}"]
        table.append([row["behaviour"], *shares, _number(row["mean_return"])])
    return [*_aligned(table), *_rest(len(rows)), ""]


def _coverage(found: dict[str, Any]) -> list[str]:
    if found["kind"] == "discrete":
        return _part("coverage", [
            f"{found['states_seen']:,} of {found['states']:,} states; {found['pairs_seen']:,} of {found['pairs']:,} "
            f"pairs of state and action ({found['pairs_share']:.1%}), each of these seen "
            f"{counted(found['fewest_visits_of_a_seen_pair'], 'time')} or more"
        ])  # fmt: skip
    lines = []
    for name, dimensions in found["dimensions"].items():
        lines += _dimensions(name, dimensions)
    for name, span in found["ranges"].items():
        lines += _part(name, [f"values from {_number(span['min'])} to {_number(span['max'])}"])
    grid = found["grid"]
    if grid is not None:
        counts = [f"{n:,}" for n in grid.get("occupied_by_action", [])[:_ROWS]]
        lines += _part("coverage", [
            f"{grid['occupied']:,} of {grid['cells']:,} cells of a grid over what was seen, "
            f"{grid['cells_per_dimension']} cells along each of {counted(grid['dimensions'], 'dimension')}"
            f"{'; by action: ' if counts else ''}{', '.join(counts)}"
        ])  # fmt: skip
    return lines


def _dimensions(name: str, rows: list[dict[str, Any]]) -> list[str]:
    shown = {f"{name} {row['dimension']}": row for row in rows[:_ROWS]}
    return [*_spreads(shown), *_rest(len(rows)), ""] if rows else []


def _rest(count: int) -> list[str]:
    return [f"… and {count - _ROWS:,} more, by --json"] if count > _ROWS else []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _short(value: dict[str, Any]) -> str:
    text = ", ".join(f"{name} {said}" for name, said in value.items())
    return text if len(text) <= 200 else text[:199] + "…"

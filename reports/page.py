"""The report of a run: one self-contained HTML page, and beside it every number as JSON and every figure as a file."""

from __future__ import annotations

import base64
import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fqi.files import finite
from fqi.regressors import REGRESSORS
from fqi.reports import rendering
from fqi.reports.accuracy.summary import audit_by_round, exact_by_round, fitted_by_round, plain, states_by_round
from fqi.reports.drawing import Drawn
from fqi.reports.evaluation import start_seeds
from fqi.reports.evidence import Evidence
from fqi.reports.figures import draw
from fqi.reports.markdown import markdown
from fqi.reports.methods import METHODS
from fqi.reports.overestimation import best_round, by_round, comparable
from fqi.reports.statistics import Interval
from fqi.reports.sweeps import figure, settings_of, side_by_side
from fqi.reports.tables import LONGEST, table, tables
from fqi.reports.verdict import verdict
from fqi.reports.words import MISSING, triple
from fqi.run import Run
from fqi.settings import TrainSettings

METRIC_ROWS = 20  # the last ones; all stand in metrics.jsonl
ABSTRACT = 4  # sentences of the verdict above all else; with what was trained on what, five lines
FILM_BYTES = 500_000  # of all films on a page
WORST = 5  # episodes that are listed
MEASURED = ("states", "exact", "audit", "policy_values")


def write_report(
    run: Run, out: Path | None = None, description: Mapping[str, Any] | None = None, form: str = "html"
) -> Path:
    """Write the page into the folder `out` as report.html (or .md), or as `out` itself where that names such a file.

    `description` is what is known of the log, as JSON values. Figures go into a folder beside the page, and every
    number shown into a JSON file beside it.
    """
    page = rendering.place(run.path / "report" if out is None else out, "report", form)
    content, figures = numbers(run, description), pictures(run)
    content["figures"] = rendering.listed(figures, page.stem)
    if form == "md":
        return rendering.write(page, markdown(content | {"sections": sections(content)}), content, figures)
    html = render(content, figures, f"{page.stem}.json", _films_as_data(run, content["films"]))
    return rendering.write(page, html, content, figures)


def sections(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables of the page for a form that has no template of its own."""
    evaluated = [
        [row["round"], _interval(row["return"]), row["predicted"]["mean"], row["discounted"]["mean"],
         _interval(row["bias"], sign=True), f"{row['episodes']} × {row['members']}"]
        for row in _shown(content)
    ]  # fmt: skip
    heads = ["round", "return [95 %]", "predicted", "realised", "bias [95 %]", "episodes × members"]
    found = [{"title": "Evaluated rounds", "tables": [table("", heads, evaluated)]}] if evaluated else []
    settings = [[row["name"], row["value"]] for row in content["settings"]]
    return [*found, {"title": "Settings", "tables": [table("", ["setting", "value"], settings)]}]


def _films_as_data(run: Run, found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The films' files as addresses that hold them, as far as they are there and the page stays small."""
    seen, left = {}, FILM_BYTES
    for film in found:
        for name in (film["strip"], film["file"]):
            file = run.path / name
            if file.is_file() and file.resolve().is_relative_to(run.path.resolve()) and file.stat().st_size <= left:
                content = file.read_bytes()
                left -= len(content)
                seen[name] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return seen


def pictures(run: Run) -> list[Drawn]:
    """The figures of the page, from the rounds that can be compared with the last evaluated one; of a sweep, first all
    settings, then the one that earned most."""
    settings = settings_of(run)
    metrics, evaluations = settings[0].metrics, settings[0].evaluations
    judged = by_round(evaluations)
    alike = comparable(judged) if judged else []
    rounds = {row["round"] for row in alike}
    together = figure(settings)
    measured = {name: run.measured(name) for name in MEASURED}
    drawn = draw(Evidence(metrics, [row for row in evaluations if row["round"] in rounds], alike, **measured))
    return drawn if together is None else [together, *drawn]


def numbers(run: Run, description: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every number of the page as JSON values; the figures are another matter."""
    record, every = run.record, settings_of(run)
    metrics, evaluations, settings = every[0].metrics, every[0].evaluations, every[0].config.table()
    judged = by_round(evaluations)
    best = best_round(comparable(judged)) if judged else None
    found = verdict(
        metrics,
        evaluations,
        discount=float(settings.get("gamma", 1.0)) ** int(settings.get("n_step", 1)),
        run=str(run.path),
        member=every[0].first if len(every) > 1 else None,
        status=str(record.get("status", "finished")),
        message=str(record.get("message", "")),
        measured={name: run.measured(name) for name in MEASURED},
    )
    content = {
        "format": "fqi-report",
        "version": 1,
        "run": str(run.path),
        "title": f"{_environment(record)}: fitted Q-iteration with {settings.get('regressor', 'a regressor')}",
        "created": record.get("created"),
        "status": record.get("status"),
        "message": record.get("message", ""),
        "data": _data(record),
        "training": _training(metrics, settings),
        "sweep": side_by_side(every),
        "verdict": [dataclasses.asdict(sentence) for sentence in found],
        "best_round": None if best is None else best["round"],
        "evaluated": [_plain(row) for row in judged],
        "worst": worst_episodes(evaluations),
        "play_command": _play(run, evaluations, every[0].first),
        "films": films(run),
        "states": plain(states_by_round(run.measured("states"))),
        "exact": plain(exact_by_round(run.measured("exact"))),
        "audit": plain(audit_by_round(run.measured("audit"))),
        "fitted": plain(fitted_by_round(run.measured("policy_values"))),
        "metrics": metrics[-METRIC_ROWS:],
        "metrics_rows": len(metrics),
        "log": _log(record, description),
        "settings": _settings(settings),
        "commands": _commands(run, record, run.evaluations),
        "evaluate_command": shlex.join(["fqi", "evaluate", str(run.path), "--rounds", "spread"]),
        "versions": record.get("versions", {}),
        "methods": METHODS,
    }
    whole: dict[str, Any] = finite(content)
    return whole


def render(
    content: Mapping[str, Any], figures: Sequence[Drawn], json_name: str, seen: Mapping[str, str] | None = None
) -> str:
    """The page. It shows nothing but `content`, the figures drawn from the same rows, and the run's films: `seen` holds
    them by file, as data addresses."""
    seen = seen or {}
    varying, same = _metric_columns(content["metrics"])
    return rendering.render(
        "run.html.j2", content, figures, json_name=json_name, shown=_shown(content), metric_columns=varying,
        metric_constants=same, abstract=ABSTRACT, seen=seen, filters={"interval": _interval},
    )  # fmt: skip


def worst_episodes(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The episodes of the last evaluated round that returned least, with the seeds that begin them again."""
    if not evaluations:
        return []
    last = max(row["round"] for row in evaluations)
    found = []
    for row in evaluations:
        if row["round"] == last:
            seeds = start_seeds(row["seed"], row["episodes"])
            for i, earned in enumerate(row["returns"]):
                if earned is not None:
                    found.append({
                        "member": row["member"], "seed": int(seeds[i]), "return": earned, "length": row["lengths"][i],
                        "predicted": row["predicted"][i], "realised": row["discounted"][i],
                    })  # fmt: skip
    return sorted(found, key=lambda episode: (episode["return"], episode["member"]))[:WORST]


def _play(run: Run, evaluations: Sequence[dict[str, Any]], first: int) -> str | None:
    """What to type to watch the worst of these episodes, the first of whose members has this number in the run."""
    worst = worst_episodes(evaluations)
    if not worst:
        return None
    words = ["--round", max(row["round"] for row in evaluations), "--member", first + worst[0]["member"]]
    words += ["--seed", worst[0]["seed"], "--video", "worst.webp"]
    return shlex.join(["fqi", "play", str(run.path), *map(str, words)])


def films(run: Run) -> list[dict[str, Any]]:
    """The newest films that the run keeps."""
    rows = run.measured("films")
    return [] if not rows else [{"round": rows[-1]["round"], **film} for film in rows[-1]["films"]]


# ---- parts of the content


def _environment(record: Mapping[str, Any]) -> str:
    return str((record.get("environment") or {}).get("id") or "Unnamed environment")


def _data(record: Mapping[str, Any]) -> dict[str, Any]:
    log = record.get("log") or {}
    return {
        "environment": _environment(record),
        "log": log.get("reference") or "",
        "steps": log.get("steps"),
        "episodes": log.get("episodes"),
        "behaviours": log.get("behaviours") or [],
    }


def _training(metrics: Sequence[dict[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    seconds = {row["round"]: row.get("seconds") or 0.0 for row in metrics}  # the same for every member
    return {
        "rounds": max(seconds, default=0),
        "rounds_asked": settings.get("iterations"),
        "members": settings.get("seeds", 1),
        "heads": settings.get("ensemble", 1),
        "seconds": sum(seconds.values()),
        "regressor": settings.get("regressor"),
        "target": settings.get("target"),
        "gamma": settings.get("gamma"),
        "n_step": settings.get("n_step", 1),
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.json() if isinstance(value, Interval) else value for key, value in row.items()}


def _log(record: Mapping[str, Any], description: Mapping[str, Any] | None) -> dict[str, Any]:
    known = dict(record.get("log") or {})
    rest = dict(description) if description is not None else {"environment": record.get("environment")}
    for key in ("reference", "fingerprint", "steps", "episodes"):  # said once, as training saw it
        rest.pop(key, None)
    if description is not None:
        known = {k: v for k, v in known.items() if k not in rest}
    checksum = rest.pop("checksum", known.get("fingerprint"))
    changed = None if checksum == known.get("fingerprint") else checksum
    return {"described": description is not None, "changed": changed, "tables": tables(known | rest)}


def _settings(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting with its help, general ones first."""
    helps: dict[str, str] = {f.name: f.metadata["help"] for f in dataclasses.fields(TrainSettings)}
    found = []
    for name, value in settings.items():
        if not isinstance(value, Mapping):
            found.append({"name": name, "value": value, "help": _help(helps, name)})
    for name, value in settings.items():
        if isinstance(value, Mapping):
            own = (
                {f.name: f.metadata["help"] for f in dataclasses.fields(REGRESSORS[name].settings)}
                if name in REGRESSORS
                else {}
            )
            found += [{"name": f"{name}.{k}", "value": v, "help": _help(own, k)} for k, v in value.items()]
    return found


def _help(helps: Mapping[str, str], name: str) -> str:
    return re.sub(r"\s*\[default:[^]]*\]", "", helps.get(name, ""))


def _commands(run: Run, record: Mapping[str, Any], evaluations: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What to type to get the same numbers again, in order."""
    path, log = str(run.path), record.get("log") or {}
    found = []
    collected = (log.get("provenance") or {}).get("command")
    if collected:
        found.append({"what": "Collect the log", "command": _line(collected)})
    if record.get("command"):
        found.append({"what": "Train, as it was typed", "command": _line(record["command"])})
    spelled = [
        "fqi",
        "train",
        str(log.get("reference") or "LOG"),
        "--config",
        f"{path}/config.toml",
        "--out",
        "NEW_RUN",
    ]
    found.append({"what": "Train again, with every setting as it was resolved", "command": shlex.join(spelled)})
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in evaluations:
        group = groups.setdefault(tuple(row[k] for k in ("environment", "seed", "episodes", "limit")), [])
        if row["round"] not in group:
            group.append(row["round"])
    own = record.get("environment") or {}
    for (environment, seed, episodes, limit), numbers in groups.items():
        words = ["fqi", "evaluate", path, "--episodes", str(episodes), "--seed", str(seed)]
        words += ["--rounds", ",".join(map(str, numbers))]
        words += ["--env", str(environment)] if environment != own.get("id") else []
        words += ["--max-steps", str(limit)] if limit is not None and limit != own.get("max_episode_steps") else []
        found.append({"what": "Evaluate", "command": shlex.join(words)})
    return [*found, {"what": "Write this page", "command": shlex.join(["fqi", "report", path])}]


def _line(command: Any) -> str:
    return command if isinstance(command, str) else shlex.join(map(str, command))


# ---- parts of the page


def _shown(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluated rounds of the table: all, or some evenly spread with the best and the last among them."""
    rows = list(content["evaluated"])
    if len(rows) <= LONGEST:
        return rows
    places = {round(i * (len(rows) - 1) / (LONGEST - 1)) for i in range(LONGEST)}
    return [row for i, row in enumerate(rows) if i in places or row["round"] == content["best_round"]]


def _metric_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    """The columns in which the rows differ, and the others with their one value; those that hold no number are gone."""
    names = dict.fromkeys(
        key for row in rows for key in row if key not in ("round", "member") and not isinstance(row[key], list)
    )
    held = {name: {row.get(name) for row in rows} for name in names}
    varying = [name for name in names if len(held[name]) > 1 or len(rows) == 1]
    same = {name: next(iter(held[name])) for name in names if name not in varying}
    return varying, {name: value for name, value in same.items() if value is not None}


def _interval(interval: Mapping[str, Any] | None, sign: bool = False) -> str:
    if interval is None:
        return MISSING
    values: dict[str, Any] = {k: float("nan") if v is None else v for k, v in interval.items()}
    found = Interval(**values)
    mean, low, high = triple(found, sign)
    return mean if low == MISSING else f"{mean} [{low}, {high}]"

"""The answer in words: is fitted Q worth it on this log, against whom, and how sure is that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fqi.reports.comparison.wording import costs, short, shown
from fqi.reports.sentences import Sentence
from fqi.reports.words import number, plural

LINES = 5  # of a verdict
ENOUGH, ENOUGH_OVER_TASKS = 4, 3  # seeds of each of two learners from which they can be told apart
BETTER, WORSE, OPEN = "better", "worse", "open"

Row = Mapping[str, Any]


def verdict(content: Mapping[str, Any]) -> list[Sentence]:
    """At most five sentences, the most important first."""
    found = [*_answers(content), *_unfinished(content), *_broken(content), *_few(content)]
    return found[:LINES]


def told(estimate: Row | None, seeds: int, tasks: int = 1) -> str:
    """Whether the first of two learners comes out ahead more often than not, as far as the seeds tell."""
    enough = ENOUGH if tasks == 1 else ENOUGH_OVER_TASKS
    if estimate is None or estimate["low"] is None or seeds < enough:
        return OPEN
    return BETTER if estimate["low"] > 0.5 else WORSE if estimate["high"] < 0.5 else OPEN


def against_line(row: Row, line: Row) -> str:
    """Whether a learner's interval over seeds lies beyond that of a reference line."""
    if row["seeds"] < 2:  # its interval is over episodes
        return OPEN
    own, other = row["iqm"], line["mean"]
    ends = [own["low"], own["high"], other["mean"]]
    if any(end is None or end != end for end in ends):
        return OPEN
    low = other["mean"] if other["low"] is None or other["low"] != other["low"] else other["low"]
    high = other["mean"] if other["high"] is None or other["high"] != other["high"] else other["high"]
    return BETTER if own["low"] > high else WORSE if own["high"] < low else OPEN


# ---- the answer


def _answers(content: Mapping[str, Any]) -> Iterator[Sentence]:
    if content["main"] is None:
        yield Sentence("no fitted Q", "note", "No fitted Q is among the learners, so that they stand side by side only")
        return
    one = content["tasks"][0] if len(content["tasks"]) == 1 else None
    whole = content["aggregate"]
    if one is not None:
        yield from _of_one(content, one)
    elif whole is not None and any(row["learner"] == content["main"] for row in whole["rows"]):
        yield from _of_all(content, whole)
    else:
        yield Sentence("no aggregate", "note", (
            "There is no number over all tasks: it needs fitted Q finished on each task, and two reference scores "
            "(random and expert)"
        ))  # fmt: skip


def _of_one(content: Mapping[str, Any], task: Mapping[str, Any]) -> Iterator[Sentence]:
    row = next((row for row in task["rows"] if row["learner"] == content["main"]), None)
    if row is None:
        yield Sentence("unfinished", "bad", f"{content['main']} is not finished on {task['name']}: no answer yet")
        return
    behaviours = [r for r in task["rows"] if r["kind"] == "behaviour" and r["mean"]["mean"] == r["mean"]["mean"]]
    best = max(behaviours, key=lambda r: float(r["mean"]["mean"]), default=None)
    rivals = [
        (r, told(r["improvement"], min(r["seeds"], row["seeds"]))) for r in _others(task["rows"], content["main"])
    ]
    line = None if best is None else against_line(row, best)
    earned = f"{short(row['learner'])} returns {shown(row['iqm'])} on {task['name']} ({_basis(row)})"
    if best is not None:
        most = "best behaviour" if len(behaviours) > 1 else "behaviour"
        earned += f"; the log's {most} ({short(best['learner'])}) returned {number(best['mean']['mean'])}"
    yield _answer(earned, line, [(r, t) for r, t in rivals if r["group"] == "the log alone"], _pending(content))
    yield from _held_against(rivals)


def _of_all(content: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Sentence]:
    row = next(row for row in whole["rows"] if row["learner"] == content["main"])
    tasks = [task for task in content["tasks"] if task["name"] in whole["tasks"]]
    lines = [against_line(r, b) for task in tasks for r, b in _with_behaviour(task, content["main"])]
    rivals = [
        (r, told(r["improvement"], min(r["seeds"], row["seeds"]), len(tasks)))
        for r in _others(whole["rows"], content["main"])
    ]
    earned = f"Over {plural(len(tasks), 'task')} {short(row['learner'])} scores {shown(row['iqm'])} (normalised IQM)"
    if lines:
        earned += f"; it earns more than the log's best behaviour on {lines.count(BETTER)} of {len(lines)}"
    line = None if not lines else BETTER if set(lines) == {BETTER} else WORSE if WORSE in lines else OPEN
    yield _answer(earned, line, [(r, t) for r, t in rivals if r["group"] == "the log alone"], _pending(content))
    yield from _held_against(rivals)


def _answer(earned: str, line: str | None, rivals: Sequence[tuple[Row, str]], pending: Sequence[str]) -> Sentence:
    """Is it worth it: against the log's own behaviour, and against what else learns from the log alone."""
    results = {result for _, result in rivals}
    if WORSE in results:
        ahead = [row for row, result in rivals if result == WORSE]
        who = f"{_names(ahead)} {'does' if len(ahead) == 1 else 'do'}"
        return Sentence("not worth it", "bad", f"{earned}. Fitted Q is not worth it on this log: {who} better from it")
    if line == WORSE:
        return Sentence(
            "not worth it", "bad", f"{earned}. Fitted Q is not worth it here: it earns less than its own data"
        )
    if line == OPEN:
        return Sentence(
            "open", "note", f"{earned}. Whether fitted Q earns more than its own data cannot be told from this"
        )
    if OPEN in results:
        who = _names([row for row, result in rivals if result == OPEN])
        gain = " earns more than its data, but" if line == BETTER else ""
        return Sentence("open", "note", f"{earned}. Fitted Q{gain} cannot be told apart from {who}")
    if line is None and not rivals:
        return Sentence(
            "alone", "note", f"{earned}. Nothing else learned from the log alone, so there is no answer yet"
        )
    if pending:
        return Sentence("open", "note", f"{earned}. Fitted Q is ahead so far; not finished: {', '.join(pending)}")
    return Sentence("worth it", "good", f"{earned}. Fitted Q is worth it on this log")


def _held_against(rivals: Sequence[tuple[Row, str]]) -> Iterator[Sentence]:
    """Each kind of rival in one sentence: who is behind, who ahead, who cannot be told apart."""
    for group, terms in (("the log alone", "From the log alone"), ("more than the log", "With more than the log")):
        own = [(row, result) for row, result in rivals if row["group"] == group]
        if not own:
            continue
        parts = "; ".join(f"{_rival(row)} {_RESULTS[result]}" for row, result in own[:4])
        more = f"; {len(own) - 4} more in the table" if len(own) > 4 else ""
        yield Sentence(group, "note", f"{terms}: {parts}{more}")


_RESULTS = {
    BETTER: "does worse than fitted Q",
    WORSE: "does better than fitted Q",
    OPEN: "cannot be told apart from it",
}


def _rival(row: Row) -> str:
    paid = costs({**row["costs"], "rows": None})
    spent = f", {paid}," if paid else ""
    return f"{short(row['learner'])}{spent} at {shown(row['iqm'])}"


# ---- what the answer lacks


def _unfinished(content: Mapping[str, Any]) -> Iterator[Sentence]:
    missing = content["missing"]
    if missing:
        names = ", ".join(f"{short(cell['learner'])} on {cell['task']}" for cell in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        resume = content["commands"][-1]["command"]
        yield Sentence(
            "missing", "bad", f"This rests on what is finished. Not finished: {names}{more}; type `{resume}`"
        )


def _broken(content: Mapping[str, Any]) -> Iterator[Sentence]:
    names = [
        f"{short(row['learner'])} on {task['name']}"
        for task in content["tasks"]
        for row in task["rows"]
        if any(v is None or v != v for v in row["scores"])
    ]
    if names:
        yield Sentence("not finite", "bad", f"Some returns are not finite numbers: {', '.join(names[:3])}")


def _few(content: Mapping[str, Any]) -> Iterator[Sentence]:
    counts = [row["seeds"] for task in content["tasks"] for row in task["rows"] if row["group"] != "reference"]
    if not counts or min(counts) >= ENOUGH:
        return
    least = min(counts)
    text = (
        "With one seed nothing is known of how training with another would end"
        if least == 1
        else f"With {least} seeds the intervals hold the truth less often than they say, and no two learners of one "
        "task can be told apart"
    )
    yield Sentence("few seeds", "bad", f"{text}; compare with --seeds 5 or more")


def warnings(content: Mapping[str, Any]) -> list[Sentence]:
    """Where the learners did not work on equal terms."""
    return [sentence for task in content["tasks"] for sentence in _terms(task, len(content["tasks"]) > 1)]


def _terms(task: Mapping[str, Any], named: bool) -> Iterator[Sentence]:
    where = f"{task['name']}: " if named else ""
    rows = [row for row in task["rows"] if row["group"] != "reference"]
    logged = task["log"]["steps"] if task["log"] else None
    for row in rows:
        spent = row["costs"]
        if spent["steps"]:
            than = "" if not logged else f", {number(spent['steps'] / logged)} times as many as the log holds"
            yield Sentence("steps", "note", (
                f"{where}{short(row['learner'])} took {number(spent['steps'])} environment steps with each seed{than}"
            ))  # fmt: skip
        if spent["queries"]:
            yield Sentence("queries", "note", (
                f"{where}{short(row['learner'])} asked the expert for {number(spent['queries'])} labels with each "
                "seed; the log has none"
            ))  # fmt: skip
        if logged and spent["rows"] and spent["rows"] != logged:
            yield Sentence("rows", "note", (
                f"{where}{short(row['learner'])} learned from {number(spent['rows'])} of the log's "
                f"{number(logged)} steps"
            ))  # fmt: skip
    yield from _unequal(rows, "network", "networks", where)
    yield from _unequal(rows, "updates", "numbers of gradient steps", where)
    if len({row["episodes"] for row in rows}) > 1:
        counts = ", ".join(f"{short(row['learner'])} {number(row['episodes'])}" for row in rows)
        yield Sentence("episodes", "note", f"{where}Not all were judged over as many episodes: {counts}")


def _unequal(rows: Sequence[Row], key: str, what: str, where: str) -> Iterator[Sentence]:
    found: dict[Any, list[str]] = {}
    for row in rows:
        if row["costs"][key] is not None:
            found.setdefault(row["costs"][key], []).append(short(row["learner"]))
    if len(found) > 1:
        parts = "; ".join(
            f"{', '.join(names)}: {value if isinstance(value, str) else number(value)}"
            for value, names in found.items()
        )
        yield Sentence(key, "note", f"{where}The learners have different {what} ({parts})")


# ---- parts


def _pending(content: Mapping[str, Any]) -> list[str]:
    """The learners from the log alone that are not finished everywhere."""
    names = [short(cell["learner"]) for cell in content["missing"] if cell["group"] == "the log alone"]
    return list(dict.fromkeys(names))


def _others(rows: Sequence[Row], main: str) -> list[Row]:
    return [row for row in rows if row["learner"] != main and row["group"] not in ("reference", "fitted Q")]


def _with_behaviour(task: Mapping[str, Any], main: str) -> Iterator[tuple[Row, Row]]:
    row = next((row for row in task["rows"] if row["learner"] == main), None)
    behaviours = [r for r in task["rows"] if r["kind"] == "behaviour" and r["mean"]["mean"] == r["mean"]["mean"]]
    if row is not None and behaviours:
        yield row, max(behaviours, key=lambda r: float(r["mean"]["mean"]))


def _names(rows: Sequence[Row]) -> str:
    names = [short(row["learner"]) for row in rows]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _basis(row: Row) -> str:
    return f"IQM and 95 % interval; {plural(row['seeds'], 'seed')} of {plural(row['episodes'], 'episode')}"

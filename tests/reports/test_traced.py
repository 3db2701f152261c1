"""Every number on a page can be found in the run's files: raw, or as a mean or an interval computed here anew."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from scipy.stats import t as student

from fqi.reports.page import write_report
from fqi.reports.statistics import Interval
from fqi.reports.words import number, percent, triple
from tests.reports.accuracy.accuracy_runs import lake

NUMBER = re.compile(r"[+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e−?\d+)?")
# Words of the page that hold numbers which are no measurement: how it is done, what can be typed, when and with what.
CONSTANT = ("method", "settings", "reproduce", "data")


@pytest.fixture(scope="module")
def traced() -> tuple[str, set[str]]:
    """The page, and every number that it may hold."""
    _, run = lake()
    return write_report(run).read_text(encoding="utf-8"), known_words(run.path)


def test_every_number_of_the_page_is_in_the_runs_files(traced: tuple[str, set[str]]) -> None:
    html, known = traced
    unknown = [word for word in words_of(html) if word not in known]
    assert unknown == []
    assert len(words_of(html)) > 300


def test_a_number_that_nobody_logged_is_found_out(traced: tuple[str, set[str]]) -> None:
    page, known = traced
    html = page.replace("</h1>", " 12.3456789</h1>", 1)
    assert [word for word in words_of(html) if word not in known] == ["12.3456789"]


def words_of(html: str) -> list[str]:
    """The numbers in the page's text: sentences, tables and captions, but not the drawings, which have files of their
    own, nor what explains the method."""
    body = html[html.index("<main>") :]
    for section in CONSTANT:
        body = re.sub(rf'<section id="{section}">.*?</section>', "", body, flags=re.DOTALL)
    body = re.sub(r"<(svg|script|style|code|pre)\b.*?</\1>", "", body, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", body).replace("&#39;", "'").replace("&gt;", ">")
    text = re.sub(r"95 %|90 %|50 %|FrozenLake-v1|1 / \(1|\d{4}-\d\d-\d\dT\S+", " ", text)
    return NUMBER.findall(text)


def known_words(path: Path) -> set[str]:
    """Each number of the run's files as a page would write it, and the statistics of each column of numbers."""
    words: set[str] = {"1", "0", "95"}
    for value in values_of(path):
        for sign in (False, True):
            words.add(number(value, sign))
        words.add(percent(value).removesuffix(" %"))
        words |= {f"{value:,}", str(value)} if isinstance(value, int) else set()
    for name in ("evaluations", "states", "audit", "policy_values", "exact"):
        for row in json_lines(path / f"{name}.jsonl"):
            for column in columns(row).values():
                for sign in (False, True):  # the ends of an interval are rounded together
                    words |= set(triple(Interval(*interval(column), len(column), 1, ""), sign))
    return words | {word.lstrip("+") for word in words}


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def values_of(path: Path) -> Iterator[Any]:
    """Raw numbers, then what is worked out from them by plain formulas."""
    record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    yield from leaves(record)
    files = {file.stem: json_lines(file) for file in path.glob("*.jsonl")}
    for rows in files.values():
        yield len(rows)
        for row in rows:
            yield from leaves(row)
            yield from derived(row)
    seconds = [row["seconds"] for row in files["metrics"]]
    yield round(sum(seconds), 1)
    yield from statistics_between(files)
    yield from (len(files[name]) for name in files)
    yield from (10, 1, 30, 60, 0.95, 4096)  # members, heads, rounds, K of the test's own run


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    else:
        yield len(value)
        for part in value:
            yield from leaves(part)


def columns(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of numbers of a row, and the differences of those that are compared."""
    found = {
        k: np.array(v, float) for k, v in row.items() if isinstance(v, list) and v and isinstance(v[0], int | float)
    }
    for a, b in (("predicted", "discounted"), ("predicted", "realised"), ("predicted", "fitted")):
        if a in found and b in found:
            found[f"{a} - {b}"] = found[a] - found[b]
    return found


def derived(row: dict[str, Any]) -> Iterator[float]:
    """Means, ends of intervals, extremes and shares of each column."""
    for column in columns(row).values():
        yield from (*interval(column), 1 - float(column.mean()))
        yield from (float(column.min()), float(column.max()), *np.quantile(column, (0.05, 0.95)).tolist())


def interval(column: Any) -> tuple[float, float, float]:
    mean, n = float(column.mean()), len(column)
    if n < 2 or column.std() == 0:
        return mean, mean, mean
    t, error = float(student.ppf(0.975, n - 1)), float(column.std(ddof=1)) / math.sqrt(n)
    shift = float(((column - mean) ** 3).mean() / column.var() ** 1.5) * error * (1 + 2 * t**2) / (6 * math.sqrt(n))
    return mean, mean - t * error + min(shift, 0), mean + t * error + max(shift, 0)


def statistics_between(files: dict[str, list[dict[str, Any]]]) -> Iterator[float]:
    """Ratios, lines, correlations and sums that compare columns or rows."""
    for row in files["evaluations"]:
        drawn = np.random.SeedSequence((row["seed"], 0xE7A1)).generate_state(row["episodes"], np.uint32)
        yield from drawn.astype(int).tolist()  # reset seeds of its episodes
        predicted, realised = np.mean(row["predicted"]), np.mean(row["discounted"])
        if realised > 0:
            yield from (float(predicted / realised), abs(float(predicted / realised) - 1))
            yield round(float(predicted / realised), 1)
        above = float((np.array(row["predicted"]) > np.array(row["discounted"])).mean())
        yield round(100 * above, 1)
    for row in files["states"]:
        x, y = np.array(row["predicted"]), np.array(row["realised"])
        bias = x - y
        yield from (float((bias > 0).mean()), float(x.mean()), float(y.mean()))
        if x.std() > 0:
            slope, intercept = np.polyfit(x, y, 1)
            yield from (float(slope), float(intercept))
        yield float(spearmanr(row["distance"], bias)[0])
        order = np.argsort(row["distance"], kind="stable")
        yield from (float(bias[part].mean()) for part in np.array_split(order, 6))
    for row in files["exact"]:
        error = np.array(row["q"]) - np.array(row["q_worth"])
        known = np.array(row["lasting"])[:, None] & (np.array(row["counts"]) > 0)
        yield from (float(np.abs(error[known]).max()), float(error[known].min()), float(error[known].max()))
    by_member = itertools.groupby(files["metrics"], key=lambda row: row["member"])
    for _, rows in by_member:
        mean = np.array([row["mean_q"] for row in rows])
        window = max(5, round(0.1 * len(mean)))
        tail = mean[-window:]
        yield float(np.polyfit(np.arange(window), tail, 1)[0])
        yield from (len(mean) - window + 1, len(mean))

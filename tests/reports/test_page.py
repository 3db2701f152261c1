"""The page as its readers and their browsers see it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import evaluations, metrics, trained

from fqi.errors import UserError
from fqi.files import json_line
from fqi.reports import rendering
from fqi.reports.page import numbers, write_report
from fqi.reports.rendering import duration
from fqi.reports.statistics import Interval
from fqi.reports.words import number, percent, triple
from fqi.run import Run

SECTIONS = {"abstract", "figures", "numbers", "data", "settings", "reproduce", "method"}
HOSTILE = "<script>alert(\"x\")</script> $\\frac{1}{0$ {{ 7 * 7 }} & 'q'"


class Page(HTMLParser):
    """Ids, addresses, tables and text of a page; tags that are never closed fail."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.table: list[list[str]] = []
        self.labels: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self.ids += [v for v in (known.get("id"),) if v]
        self.addresses += [v for k in ("href", "src", "xlink:href", "action") if (v := known.get(k))]
        assert not [k for k in known if k.startswith("on")]
        if tag == "svg":
            self.labels.append(known.get("aria-label") or "")
        if tag == "table":
            self.table = self.tables[known.get("id") or f"table {len(self.tables)}"] = []
        if tag == "tr":
            self.table.append([])
        if tag in ("td", "th"):
            self.table[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open) and self.table:
            self.table[-1][-1] += data


TRAINING = ["q_values", "spread", "actions", "norms", "loss", "consistency"]


def assert_only_our_script(page: Page, html: str) -> None:
    """One script, the one that shows numbers under the pointer; its hash is all that the page lets run."""
    assert page.tags.count("script") == 1
    ours = (Path(rendering.__file__).parent / "templates" / "hover.js").read_text(encoding="utf-8")
    assert f"<script>{ours}</script>" in html
    seal = base64.b64encode(hashlib.sha256(ours.encode()).digest()).decode()
    assert f"script-src 'sha256-{seal}'" in html


def evaluated(run: Run, rounds: list[int], **more: Any) -> Run:
    run.add_evaluations(
        evaluations(rounds, returns=lambda k: 40 + k, discounted=lambda k: 30 + k, bias=lambda _: 4.0, **more)
    )
    return run


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Makes runs; the path is not part of what is tested."""

    def make(**more: Any) -> Run:
        return trained(tmp_path_factory.mktemp("runs") / "run", **more)

    return make


def read(page: Path) -> tuple[Page, dict[str, Any], str]:
    html = page.read_text(encoding="utf-8")
    return Page(html), json.loads(page.with_suffix(".json").read_text(encoding="utf-8")), html


def shown(interval: dict[str, Any], sign: bool = False) -> str:
    mean, low, high = triple(Interval(**interval), sign)
    return f"{mean} [{low}, {high}]"


DESCRIBED = {"steps": 240, "length": {"mean": 24.0, "min": 24, "max": 24, "count": 10}}


@pytest.fixture(scope="module")
def usual(fresh: Callable[..., Run]) -> tuple[Run, Path]:
    """An evaluated run and its page, for reading."""
    run = evaluated(fresh(), [2, 4, 6], success=[True, False] * 10)
    return run, write_report(run, None, DESCRIBED)


@pytest.fixture(scope="module")
def unevaluated(fresh: Callable[..., Run]) -> tuple[Run, Path]:
    """A run that was never evaluated and whose log has changed, and its page, for reading."""
    run = fresh(members=1)
    return run, write_report(run, None, {"checksum": "deadbeef"})


def test_a_page_is_whole_and_stands_alone(usual: tuple[Run, Path]) -> None:
    run, path = usual
    page, content, html = read(path)
    assert path == run.path / "report" / "report.html"
    assert set(page.ids) >= SECTIONS
    assert len(set(page.ids)) == len(page.ids)
    assert path.stat().st_size < 1_000_000
    assert not re.search(r"https?:|//|@import|url\((?!#)", html)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert_only_our_script(page, html)
    kinds = ("svg", "png", "json")
    targets = {"report.json"} | {f"report_figures/{f['name']}.{k}" for f in content["figures"] for k in kinds}
    inside = {a for a in page.addresses if a.startswith("#")}
    assert {a[1:] for a in inside} <= set(page.ids)
    assert set(page.addresses) - inside == targets
    for target in targets:
        assert (path.parent / target).stat().st_size > 0
    assert [f["name"] for f in content["figures"]] == ["values", "returns", "bias", "calibration", *TRAINING]
    assert page.labels == [f["alt"] for f in content["figures"]]


def test_numbers_on_the_page_are_those_of_the_json_file_and_of_the_run(usual: tuple[Run, Path]) -> None:
    run, path = usual
    page, content, _ = read(path)
    rows = page.tables["evaluated"][1:]
    assert [row[0] for row in rows] == ["2", "4", "6"]
    for row, known in zip(rows, content["evaluated"], strict=True):
        assert row == [
            number(known["round"]), shown(known["return"]), number(known["predicted"]["mean"]),
            number(known["discounted"]["mean"]), shown(known["bias"], sign=True), number(known["ratio"]),
            percent(known["success"]), number(known["length"]["mean"]), "20 × 3",
        ]  # fmt: skip
    logged = [row["returns"] for row in run.evaluations if row["round"] == 6]
    assert content["evaluated"][-1]["return"]["mean"] == pytest.approx(sum(map(sum, logged)) / 60)
    head, *rows = page.tables["metrics"]
    assert content["metrics"] == run.metrics
    for row, known in zip(rows, run.metrics, strict=True):
        assert row == [number(known[name.replace(" ", "_")]) for name in head]
    plain = {name for name, value in run.metrics[0].items() if not isinstance(value, list)}
    for name in plain - {name.replace(" ", "_") for name in head}:
        assert f"{name.replace('_', ' ')} {number(run.metrics[0][name])}" in page.text
    members = page.tables["members"][1:]
    assert [row[1] for row in members] == [number(m["return"]) for m in content["evaluated"][-1]["per_member"]]
    for sentence in content["verdict"]:
        assert sentence["text"].replace("`", "") in page.text


def test_the_same_run_gives_the_same_bytes(usual: tuple[Run, Path], tmp_path: Path) -> None:
    run, first = usual
    second = write_report(run, tmp_path / "b", DESCRIBED)
    files = sorted(p.relative_to(first.parent) for p in first.parent.rglob("*") if p.is_file())
    assert len(files) == 2 + 3 * 10
    for file in files:
        assert (first.parent / file).read_bytes() == (second.parent / file).read_bytes()


def test_never_evaluated(unevaluated: tuple[Run, Path]) -> None:
    run, path = unevaluated
    page, content, _ = read(path)
    assert content["evaluated"] == []
    assert content["best_round"] is None
    assert "This run was never evaluated" in page.text
    assert f"fqi evaluate {run.path} --rounds spread" in page.text
    assert [f["name"] for f in content["figures"]] == TRAINING


def test_one_round_one_member_one_episode(fresh: Callable[..., Run]) -> None:
    run = evaluated(fresh(rounds=1, members=1), [1], members=1, episodes=1, lengths=[3], terminated=[True], tail=[0.0])
    page, content, _ = read(write_report(run))
    assert page.tables["evaluated"][1][-1] == "1 × 1"
    assert content["evaluated"][0]["return"]["low"] is None


def test_no_round_at_all(fresh: Callable[..., Run]) -> None:
    run = fresh(rounds=1, members=1)
    (run.path / "metrics.jsonl").unlink()
    run.set_status("training")
    page, content, _ = read(write_report(run))
    assert content["figures"] == []
    assert "No round is finished yet." in page.text


def test_diverged_with_numbers_that_are_not_finite(fresh: Callable[..., Run]) -> None:
    run = fresh(rounds=1, members=2)
    rows = metrics(30, mean_q=lambda k: 8.0**k, members=2, max_q=lambda k: 9.0**k, beyond=lambda _: 1.0)
    for row in rows[-2:]:
        row |= {"mean_q": None, "max_q": float("nan"), "training_loss": None}
    (run.path / "metrics.jsonl").write_text("".join(json_line(row) for row in rows), encoding="utf-8")
    found = evaluations([10, 30], returns=lambda _: 9, discounted=lambda _: 9, bias=lambda k: 8.0**k, members=2)
    found[-1]["predicted"] = [None] * 20
    run.add_evaluations(found)
    run.set_status("diverged", "round 31: the Q-values of member 0 are no longer finite numbers; try a lower --lr")
    page, content, html = read(write_report(run))
    assert "are no longer finite numbers" in page.text
    assert not re.search(r"\bnan\b|\bNone\b|\bNaN\b|\binf\b", page.text)
    assert "not finite" in {s["kind"] for s in content["verdict"]}
    assert '<code class="option">--lr</code>' in html


def test_hostile_text_stays_text(fresh: Callable[..., Run]) -> None:
    closing = "</style></title><img src=https://evil.example/x onerror=alert(1)>"
    run = fresh(
        members=1, rounds=2, environment=HOSTILE, reference=f"logs/{closing}.h5", note=closing, **{closing: HOSTILE}
    )
    evaluated(run, [2], members=1, environment=HOSTILE)
    page, _, html = read(
        write_report(run, None, {"behaviours": [{"behaviour": closing, closing: 1}], closing: [HOSTILE]})
    )
    assert "img" not in page.tags
    assert_only_our_script(page, html)
    assert page.text.count(HOSTILE) > 3
    assert page.text.count(closing) > 3
    assert html.count("<script") == 1


@pytest.mark.slow
def test_many_rounds_and_members_stay_small(fresh: Callable[..., Run]) -> None:
    run = fresh(rounds=1, members=10)
    rows = metrics(1000, mean_q=lambda k: 100 * (1 - 0.99**k), members=10, noise=1.0)
    (run.path / "metrics.jsonl").write_text("".join(json_line(row) for row in rows), encoding="utf-8")
    evaluated(
        run,
        list(range(1, 1001, 10)),
        members=10,
        episodes=40,
        lengths=[9] * 40,
        terminated=[True] * 40,
        tail=[0.0] * 40,
    )
    path = write_report(run)
    page, content, _ = read(path)
    assert path.stat().st_size < 1_000_000
    assert len(content["evaluated"]) == 100
    assert "40 of 100 evaluated rounds are shown" in page.text or "41 of 100 evaluated rounds are shown" in page.text
    assert len(page.tables["metrics"]) == 21


def test_a_log_that_has_changed_is_said(unevaluated: tuple[Run, Path]) -> None:
    run, path = unevaluated
    page, _, _ = read(path)
    assert "it has the fingerprint deadbeef" in page.text
    own = run.record["log"]["fingerprint"]
    assert numbers(run, {"checksum": own})["log"]["changed"] is None


def test_commands_reproduce_what_was_logged(fresh: Callable[..., Run]) -> None:
    run = evaluated(
        fresh(members=1, command=["fqi", "collect", "--out", "a b.h5"]), [2, 6], members=1, seed=0, limit=100
    )
    commands = [row["command"] for row in numbers(run)["commands"]]
    assert commands[0] == "fqi collect --out 'a b.h5'"
    assert commands[1] == f"fqi train logs/cartpole.h5 --out {run.path}"
    assert commands[2] == f"fqi train logs/cartpole.h5 --config {run.path}/config.toml --out NEW_RUN"
    assert commands[3] == f"fqi evaluate {run.path} --episodes 20 --seed 0 --rounds 2,6 --max-steps 100"
    assert commands[4] == f"fqi report {run.path}"


def test_where_the_page_goes(fresh: Callable[..., Run], tmp_path: Path) -> None:
    run = fresh(members=1, rounds=1)
    page = write_report(run, tmp_path / "mine.html")
    assert (tmp_path / "mine.json").exists()
    assert (tmp_path / "mine_figures" / "loss.png").exists()
    assert 'href="mine.json"' in page.read_text(encoding="utf-8")
    (run.path / "metrics.jsonl").unlink()  # figures have been drawn once
    assert write_report(run, tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / "report.html"
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"expected a folder or a file name that ends in \.html"):
        write_report(run, tmp_path / "taken")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.26, "0.3 s"), (59.0, "59 s"), (61.4, "1 min 1 s"), (7290, "2 h 1 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words

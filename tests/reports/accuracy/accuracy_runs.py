"""A very small run on FrozenLake's known model, measured once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from fqi.datasets.collect import Request, collect
from fqi.datasets.load import load_log
from fqi.log import Log
from fqi.reports.accuracy.measure import Wanted, measure
from fqi.reports.evaluation import evaluate
from fqi.run import Run
from fqi.training import configure, train


@cache
def lake() -> tuple[Log, Run]:
    """A table on 1,500 uniformly random steps, evaluated and measured at two rounds."""
    place = Path(mkdtemp(prefix="fqi-test-"))
    collect(Request.new("FrozenLake-v1", {"seed": 3}, 1500, None), place / "log.h5")
    log = load_log(str(place / "log.h5"))
    config = configure(log, flags={"gamma": 0.95, "iterations": 30})
    run = train(log, config, place / "run", log_reference=str(place / "log.h5"), command=["fqi", "train"])
    evaluate(run, [10, 30], episodes=30)
    assert measure(run, log, [10, 30], Wanted(states=40, fitted=True)) == ["audit", "exact", "policy_values"]
    return log, run

"""The verdict on planted runs: what each must say, and what it must not."""

from __future__ import annotations

import math
from typing import Any

from report_runs import evaluations, metrics

from fqi.reports.verdict import Sentence, verdict

ROUNDS = list(range(10, 101, 10))


def settled(round_: int) -> float:
    return 90 * (1 - 0.93**round_)


def judge(rows: list[dict[str, Any]], logged: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Sentence]:
    logged = metrics(100, mean_q=settled) if logged is None else logged
    found = verdict(logged, rows, discount=0.99, run="runs/a", **more)
    assert len({s.kind for s in found}) == len(found)
    return {sentence.kind: sentence for sentence in found}


def test_healthy() -> None:
    rows = evaluations(ROUNDS, returns=lambda k: min(k, 50) * 8, discounted=settled, bias=lambda _: 0.5, episodes=50)
    found = judge(rows)
    assert set(found) == {"healthy", "recommended", "best"}
    assert found["healthy"].level == "good"
    assert found["healthy"].text.startswith("At round 100 the values are within ")
    assert "50 episodes × 3 members" in found["healthy"].text
    assert "predicted 90" in found["healthy"].text


def test_too_high_from_a_round_on_with_its_ratio() -> None:
    rows = evaluations(
        ROUNDS, returns=lambda _: 100, discounted=lambda _: 50, bias=lambda k: 0 if k < 40 else 65, noise=0.5
    )
    text = judge(rows)["too high"].text
    assert text.startswith("Values are 2.3x too high from round 40 on: at round 100 predicted 11")


def test_too_high_by_less_than_half_is_said_in_percent() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 100, discounted=lambda _: 50, bias=lambda _: 10, noise=0.1)
    assert judge(rows)["too high"].text.startswith("Values are 20 % too high at every evaluated round, 10 to 100: ")


def test_negative_values_are_told_apart_by_differences() -> None:
    rows = evaluations(
        ROUNDS, returns=lambda k: -200 + k, discounted=lambda _: -60, bias=lambda k: 20, noise=0.5,
        environment="MountainCar-v0",
    )  # fmt: skip
    found = judge(rows, metrics(100, mean_q=lambda k: -60 * (1 - 0.93**k), low=-100.0, high=-1.0))
    assert found["too high"].text.startswith("Values are 2")
    assert "x too" not in found["too high"].text
    assert "%" not in found["too high"].text.replace("95 % interval", "")
    assert "collapse" not in found


def test_values_near_zero_are_not_multiplied() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 0, discounted=lambda _: 0, bias=lambda _: 30, noise=1)
    text = judge(rows)["too high"].text
    assert text.startswith(("Values are 30", "Values are 29", "Values are 3"))
    assert "x too high" not in text


def test_too_low() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 100, discounted=lambda _: 50, bias=lambda _: -25, noise=0.1)
    assert judge(rows)["too low"].text.startswith("Values are 50 % too low at every evaluated round")


def test_runaway() -> None:
    logged = metrics(
        100, mean_q=lambda k: 1.1**k, max_q=lambda k: 2 * 1.1**k, beyond=lambda k: min(1.0, max(0.0, (k - 38) / 40))
    )
    rows = evaluations(ROUNDS, returns=lambda _: 50, discounted=lambda _: 40, bias=lambda k: 1.1**k, noise=1)
    found = judge(rows, logged)
    assert found["runaway"].level == "bad"
    # 2 x 1.1^k passes 100 + 0.1 x 99 at round 43, and the share passes 5 % at round 41.
    assert found["runaway"].text.startswith("Values run away from round 43 on: at round 100, 100 % of the Q-values")
    assert "the 1 to 100 that the rewards seen can earn" in found["runaway"].text
    assert "climbing" not in found
    assert "runaway" in judge([], logged)


def test_values_a_hair_beyond_the_bound_do_not_run_away() -> None:
    logged = metrics(100, mean_q=lambda k: 100 * (1 - 0.9**k), max_q=lambda _: 102.0, beyond=lambda _: 0.4)
    assert "runaway" not in judge([], logged)


def test_collapse_after_a_peak() -> None:
    def returns(k: int) -> float:
        return 30 + 450 * math.exp(-(((k - 60) / 20) ** 2))

    rows = evaluations(ROUNDS, returns=returns, discounted=settled, bias=lambda _: 0.1, episodes=50)
    text = judge(rows)["collapse"].text
    assert "at round 60 fell to" in text
    assert "`run:runs/a@60`" in text


def test_a_small_fall_is_no_collapse() -> None:
    rows = evaluations(ROUNDS, returns=lambda k: 490 - 0.1 * k, discounted=settled, bias=lambda _: 0.1, noise=0.1)
    assert "collapse" not in judge(rows)


def test_noise_is_no_collapse() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 100, discounted=settled, bias=lambda _: 0.1, noise=40, members=4)
    assert "collapse" not in judge(rows)


def test_returns_that_still_climb() -> None:
    rows = evaluations(ROUNDS, returns=lambda k: 4 * k, discounted=settled, bias=lambda _: 0.1)
    text = judge(rows)["climbing"].text
    assert text.startswith("The return still rises: from 3")
    assert "`fqi train --resume runs/a --iterations 200`" in text


def test_values_that_still_climb() -> None:
    # 1 - 0.99^k: after 100 rounds more than a third of an endless stream's value is missing.
    rows = evaluations(ROUNDS, returns=lambda _: 500, discounted=lambda _: 99, bias=lambda k: -99 * 0.99**k, noise=0.5)
    found = judge(rows, metrics(100, mean_q=lambda k: 100 * (1 - 0.99**k)))
    assert found["climbing"].text.startswith("Values still rise when the run ends")
    assert "too low" in found


def test_noise_in_settled_values_is_no_climb() -> None:
    assert set(judge([], metrics(100, mean_q=lambda _: 90.0, noise=0.3))) == {"unevaluated"}


def test_never_evaluated() -> None:
    found = judge([])
    assert set(found) == {"unevaluated"}
    assert "`fqi evaluate runs/a`" in found["unevaluated"].text


def test_one_round_evaluated() -> None:
    rows = evaluations([100], returns=lambda _: 500, discounted=lambda _: 99, bias=lambda _: 0.5)
    found = judge(rows)
    assert set(found) == {"healthy", "one round"}
    assert "--rounds spread" in found["one round"].text


def test_later_rounds_that_were_not_evaluated() -> None:
    rows = evaluations([10, 20], returns=lambda _: 500, discounted=lambda _: 99, bias=lambda _: 0.5)
    assert "No round after 20 was evaluated, though there are 100" in judge(rows)["later rounds"].text


def test_a_collapse_before_values_have_settled_is_both() -> None:
    rows = evaluations(ROUNDS, returns=lambda k: 500 - 4 * k, discounted=lambda _: 80, bias=lambda _: -40)
    assert {"collapse", "climbing", "too low"} <= set(judge(rows, metrics(100, mean_q=lambda k: k)))


def test_one_member() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 500, discounted=lambda _: 99, bias=lambda _: 0.5, members=1)
    assert "with another seed" in judge(rows)["one member"].text


def test_members_disagree() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 100, discounted=lambda _: 50, bias=lambda _: 0.1)
    for row in rows:
        if row["member"] == 2:
            row["returns"] = [10.0 + r / 100 for r in row["returns"]]
    text = judge(rows)["disagreement"].text
    assert text.startswith("Members disagree: at round 100 the best returns 99.8 and the worst 11 ")


def test_too_few_episodes_to_tell() -> None:
    rows = evaluations([100], returns=lambda _: 50, discounted=lambda _: 50, bias=lambda _: 5, members=1, episodes=3)
    rows[0]["predicted"] = [20.0, 50.0, 120.0]
    text = judge(rows)["uncertain"].text
    assert text.startswith("Whether the values are right at round 100 cannot be told yet: ")
    assert "--episodes 12" in text


def test_values_that_are_not_finite() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 50, discounted=lambda _: 50, bias=lambda _: 5)
    rows[-1]["predicted"][0] = None
    assert "are not finite numbers" in judge(rows)["not finite"].text


def test_play_that_was_cut_short() -> None:
    rows = evaluations(ROUNDS, returns=lambda _: 50, discounted=lambda _: 50, bias=lambda _: 0.1, tail=[1.0] * 20)
    assert "100 % of the value's weight was left" in judge(rows)["cut short"].text


def test_other_environments_are_left_out() -> None:
    rows = evaluations([10], returns=lambda _: 900, discounted=settled, bias=lambda _: 0, environment="Other-v0")
    rows += evaluations([50, 100], returns=lambda _: 50, discounted=lambda _: 50, bias=lambda _: 0.1)
    found = judge(rows)
    assert "(Other-v0)" in found["other environment"].text
    assert "is 10" not in found["best"].text


def test_how_the_run_ended() -> None:
    assert "values diverged: too big" in judge([], status="diverged", message="too big")["diverged"].text
    away = metrics(9, mean_q=lambda k: 9.0**k, beyond=lambda _: 1.0)
    assert set(judge([], away, status="diverged")) == {"diverged", "unevaluated"}
    assert "100 rounds stand here" in judge([], status="training")["unfinished"].text


def test_a_run_without_rounds() -> None:
    assert set(judge([], [])) == {"unevaluated"}


def test_no_bounds() -> None:
    assert "runaway" not in judge([], metrics(20, mean_q=lambda k: 10.0**k, low=None, high=None, beyond=lambda _: 0.0))


def audit(unsupported: float, members: int = 3, frames: int = 200, **more: Any) -> list[dict[str, Any]]:
    """Rows of the last round as `fqi evaluate` writes them of the log alone."""
    supported = [i >= unsupported * frames for i in range(frames)]
    return [
        {"round": 100, "member": m, "seed": 0, "frames": frames, "units": "members", "independent": False,
         "gaps": [0.1] * frames, "discount": 0.9, "supported": supported, "differs": 0.1, "value": 90.0,
         "spread": 0.5, "beyond": 0.0, "lowest_earnable": 1.0, "highest_earnable": 100.0, "quantiles": [90.0] * 5}
        | more
        for m in range(members)
    ]  # fmt: skip


def test_the_four_planted_cases_are_told_apart() -> None:
    fine: dict[str, Any] = {"returns": lambda k: min(k, 50) * 8, "discounted": settled, "episodes": 50}
    healthy = evaluations(ROUNDS, bias=lambda _: 0.5, **fine)
    away = metrics(100, mean_q=lambda k: 1.1**k, max_q=lambda k: 2 * 1.1**k, beyond=lambda k: float(k > 40))
    runaway = evaluations(ROUNDS, bias=lambda k: 1.1**k, **fine)
    peak = {"returns": lambda k: 30 + 450 * math.exp(-(((k - 60) / 20) ** 2)), "discounted": settled, "episodes": 50}
    collapsed = evaluations(ROUNDS, bias=lambda _: 0.1, **peak)  # type: ignore[arg-type]
    covered, narrow = {"audit": audit(0.02)}, {"audit": audit(0.6)}
    warnings = {"runaway", "collapse", "narrow"}
    for rows, logged, measured, expected in (
        (healthy, None, covered, set()),
        (runaway, away, covered, {"runaway"}),
        (collapsed, None, covered, {"collapse"}),
        (healthy, None, narrow, {"narrow"}),
    ):
        found = judge(rows, logged, measured=measured)
        assert warnings & set(found) == expected
        assert all(found[kind].level == "bad" for kind in expected)
    text = judge(healthy, measured=narrow)["narrow"].text
    assert text.startswith("The data do not cover the policy: at round 100, 60 % of its greedy actions over 200 frames")
    assert "healthy" in judge(healthy, measured=covered)


def test_the_recommended_round_has_a_reason() -> None:
    rows = evaluations(ROUNDS, returns=lambda k: min(k, 50) * 8, discounted=settled, bias=lambda k: k / 10, noise=0.1)
    text = judge(rows)["recommended"].text
    assert text.startswith("Use round 50 (`run:runs/a@50`): of the 6 rounds that return as much as the best")
    few: dict[str, Any] = {
        "returns": lambda k: 200 if k == 50 else 100,
        "discounted": settled,
        "bias": lambda k: 100 - k,
    }
    assert judge(evaluations(ROUNDS, noise=60, **few))["recommended"].text.startswith("Use round 50 ")
    alone = evaluations(ROUNDS, returns=lambda k: k, discounted=settled, bias=lambda _: 0.1, noise=0.01)
    assert "it returns most, alone" in judge(alone)["recommended"].text


def test_without_an_environment_the_log_speaks() -> None:
    fitted = [
        {"round": 100, "member": m, "episodes": 30, "held_out": True, "rounds": 100,
         "fitted": [50.0 + m] * 30, "predicted": [90.0 + m] * 30}
        for m in range(3)
    ]  # fmt: skip
    found = judge([], measured={"audit": audit(0.0), "policy_values": fitted})
    assert "unevaluated" not in found
    assert found["fitted"].level == "bad"
    assert "values the policy of round 100 at 51" in found["fitted"].text
    # a gap of .1 a backup, discount .9: 100 rounds gather .1 (1 - .9^100) / .1 = 1
    assert found["gap"].text.startswith("By the members' own account the maximum adds +0.1")
    assert "+1 in all" in found["gap"].text
    assert judge([], measured={"audit": audit(0.0, beyond=0.5)})["beyond"].level == "bad"
    assert judge([], measured={"audit": audit(0.0, gaps=None)})["alone"].level == "note"

"""The best and the worst evaluated episode of a round, filmed and kept in the run."""

from __future__ import annotations

from typing import Any

from fqi.files import write_bytes
from fqi.policies import greedy, of_single_frames
from fqi.reports.evaluation import start_seeds
from fqi.reports.films.files import animated, strip
from fqi.reports.films.play import film
from fqi.run import Run


def extremes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best and the worst episode by return, the earliest of equals; one alone where all returned the same."""
    found = [
        {"member": row["member"], "episode": i, "return": value, "length": row["lengths"][i],
         "predicted": row["predicted"][i], "realised": row["discounted"][i]}
        for row in rows for i, value in enumerate(row["returns"]) if value is not None
    ]  # fmt: skip
    if not found:
        return []
    best, worst = max(found, key=lambda e: e["return"]), min(found, key=lambda e: e["return"])
    chosen = [{"kind": "best", **best}]
    return chosen if worst["return"] == best["return"] else [*chosen, {"kind": "worst", **worst}]


def film_best_and_worst(run: Run, number: int) -> list[dict[str, Any]]:
    """Film them as they were evaluated; the files lie in RUN/films, what they show in films.jsonl."""
    rows = [row for row in run.evaluations if row["round"] == number]
    environment, heads, q = run.record["environment"], run.config.heads, run.build()
    films = []
    try:
        if environment is None or not rows or rows[0]["environment"] != environment["id"]:
            return []
        run.load(q, number)
        for chosen in extremes(rows):
            seed = int(start_seeds(rows[0]["seed"], rows[0]["episodes"])[chosen["episode"]])
            policy = of_single_frames(
                greedy(q, slice(chosen["member"] * heads, (chosen["member"] + 1) * heads)), "a film"
            )
            played = film(environment, policy, seed, rows[0]["limit"])
            stem = f"films/{number:05d}-{chosen['kind']}"
            write_bytes(run.path / f"{stem}.webp", animated(played.pictures))
            write_bytes(run.path / f"{stem}-strip.webp", strip(played.pictures))
            films.append({
                **chosen, "seed": seed, "file": f"{stem}.webp", "strip": f"{stem}-strip.webp",
                "filmed_return": played.total, "filmed_length": len(played.rewards),
            })  # fmt: skip
    finally:
        q.close()
    run.keep("films", [{"round": number, "member": 0, "films": films}])
    return films

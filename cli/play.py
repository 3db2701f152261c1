"""`fqi play`: watch a run's greedy policy, or film it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fqi.cli.shared import RUNS, Json, Trust, newest, say, show, trust_code
from fqi.errors import UserError


def play(
    run: Annotated[
        Path | None, typer.Argument(help="A run directory. \\[default: runs/latest]", show_default=False)
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="The film: .webp or .gif (animated), .png (a strip of stills), or .mp4 (needs the extra video). "
            "\\[default: RUN/play.webp]",
            show_default=False,
        ),
    ] = None,
    round: Annotated[
        int | None, typer.Option(help="Whose policy. \\[default: the last round]", show_default=False, min=1)
    ] = None,
    member: Annotated[
        int | None,
        typer.Option(
            help="Which member plays; of a sweep one must be named. \\[default: 0]", show_default=False, min=0
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Reset seed of the episode.", min=0)] = 0,
    env: Annotated[
        str | None, typer.Option(help="Environment to play in. \\[default: the one the log names]", show_default=False)
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(help="Time limit in steps. \\[default: the environment's own]", show_default=False, min=1),
    ] = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Play one episode of a member's greedy policy and write it as a film."""
    from fqi.environments.make import environment_record
    from fqi.policies import greedy, of_single_frames
    from fqi.reports.films.files import KINDS, save
    from fqi.reports.films.play import film
    from fqi.run import Run

    found = Run.open(newest(RUNS, "run", "fqi train") if run is None else run)
    out = video or found.path / "play.webp"
    if out.suffix.lower() not in KINDS:
        raise UserError(f"--video {out}: expected a file that ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if trust and not trust_code(found.config):
        raise UserError(f"{found.path} names no py:… function, and so --trust has no effect")
    record = found.record["environment"] if env is None else environment_record(env, trusted=True)
    if record is None:
        raise UserError(f"{found.path}: its log names no environment; give one by --env")
    try:
        member = found.pick_member(member)
    except UserError as error:
        raise UserError(f"--member: {error}") from None
    number = found.pick_round(round)
    limit = max_steps or record.get("max_episode_steps") or 1000
    say(f"run {found.path}: member {member} at round {number} plays {record['id']} from seed {seed}", json)
    q = found.build()
    try:
        found.load(q, number)
        heads = found.config.heads
        policy = of_single_frames(greedy(q, slice(member * heads, (member + 1) * heads)), "a film")
        played = film(record, policy, seed, limit, trusted=env is not None)
    finally:
        q.close()
    save(out, played.pictures)
    result = {
        "video": str(out), "run": str(found.path), "round": number, "member": member, "seed": seed,
        "return": played.total, "length": len(played.rewards), "terminated": played.terminated,
    }  # fmt: skip
    ended = "ended" if played.terminated else "was cut"
    show(
        result,
        json,
        [
            f"return {played.total:,.4g} in {len(played.rewards):,} steps; the episode {ended}",
            f"film {shlex.quote(str(out))}",
        ],
    )

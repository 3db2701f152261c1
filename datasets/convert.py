"""Logs made of logs: converted, merged, split, filtered, or the first episodes of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets import store
from fqi.datasets.columns import Column, Head, leaf_name
from fqi.datasets.flatten import flattening
from fqi.datasets.format import Format
from fqi.datasets.formats import minari, table
from fqi.datasets.journal import journal_path
from fqi.datasets.load import FORMATS, resolve, writable
from fqi.datasets.pieces import Stream, save_stream
from fqi.datasets.stream import Output, Source, held, refuse_loss, source, windows, write
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

_CHOICES = ("actions", "label")
_MEANINGS = ("action_names", "action_table", "keys")  # what of a provenance says what numbers mean


@dataclass(frozen=True)
class Hearing:
    """Whom to tell how far the work is, and whom to ask before anything is lost."""

    progress: Callable[[int, int], None] = lambda done, total: None
    losing: Callable[[str, list[str]], None] = refuse_loss


@dataclass(frozen=True)
class Made:
    """A log that was written."""

    log: str
    steps: int
    episodes: int
    notes: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def check_free(target: str, force: bool, *sources: str) -> Format:
    """The format that a name asks for, if there is nothing in the way of writing it."""
    form = writable(target)
    if form is minari.FORMAT:
        minari.check_free(target)
        return form
    path = _path(target)
    if path.is_dir():
        raise UserError(f"{target}: is a folder; name a file in it")
    if any(not one.startswith(minari.PREFIX) and path.resolve() == _path(one).resolve() for one in sources):
        raise UserError(f"{target}: is the log that is read; name another file")
    if form is store.FORMAT and journal_path(path).exists():
        raise UserError(f"{target}: an unfinished collection lies there; resume it, or name another file")
    also = [table.beside(path)] if form is table.FORMAT and not target.endswith((".parquet", ".pq")) else []
    for there in (path, *also):
        if there.exists() and not force:
            raise UserError(f"{there} exists already; name another file, or say --force to replace it")
    return form


def _path(reference: str) -> Path:
    """The file that is named, without its format's prefix, its options or its mapping."""
    prefix = next((f"{form.name}:" for form in FORMATS if form.claims and reference.startswith(f"{form.name}:")), "")
    name = table.Named.of(reference).path
    return Path(reference.removeprefix(prefix).partition("?")[0]) if prefix else name


def convert(
    reference: str,
    target: str,
    *,
    said: dict[str, Any] | None = None,
    flatten_actions: bool = False,
    force: bool = False,
    hearing: Hearing | None = None,
) -> Made:
    """The same episodes in another format; `said` tells what the columns of a table are."""
    form = check_free(target, force, reference)
    if said is None and not flatten_actions and form is store.FORMAT:
        name, read = resolve(reference)
        if read.stream is not None:
            return _streamed(name, read.stream(name), target, hearing or Hearing())
    with _opened(reference, said, flatten_actions) as one:
        flatten_actions = flatten_actions and one.form is not minari.FORMAT  # which has done it while reading
        notes = dict(one.head.provenance.get("notes") or {}) if one.form is not store.FORMAT else {}
        every = np.ones(one.episodes, np.bool_)
        if flatten_actions:
            output = _flattened(one, target, form)
        else:
            head = one.head.noting(converted_from=_trail(one.head, one.reference))
            output = Output(target, form, head, one.columns, (every,), one.seeds, one.origin)
        made = _write([one], [output], hearing)[0]
        return replace(made, notes=notes)


@contextlib.contextmanager
def _opened(reference: str, said: dict[str, Any] | None, flatten_actions: bool) -> Iterator[Source]:
    if said is not None:
        if not table.accepts(reference):
            name = f"--{next(iter(said)).replace('_', '-')}"
            raise UserError(f"{reference}: {name} has an effect only on a table (CSV, Parquet or JSON lines)")
        yield held(reference, table.FORMAT, table.read_table(reference, said))
        return
    if flatten_actions and minari.accepts(reference):
        yield held(reference, minari.FORMAT, minari.read_minari(reference, flatten_actions=True))
        return
    with source(reference) as one:
        yield one


def _streamed(reference: str, stream: Stream, target: str, hearing: Hearing) -> Made:
    """A log that its format hands over in pieces, of which one is held at a time."""
    total = sum(column.rows(stream.steps, stream.episodes) for column in stream.columns)

    def heard() -> Iterator[tuple[str, Array]]:
        done = 0
        for name, piece in stream.pieces:
            yield name, piece
            done += len(piece)
            hearing.progress(round(stream.steps * done / total), stream.steps)

    head = stream.head.noting(converted_from=_trail(stream.head, reference))
    save_stream(replace(stream, head=head, pieces=heard()), target)
    notes = dict(head.provenance.get("notes") or {})
    return Made(target, stream.steps, stream.episodes, notes, head.provenance)


def _trail(head: Head, reference: str) -> list[str]:
    before = head.provenance.get("converted_from")
    return [*(before if isinstance(before, list) else []), reference]


def _flattened(one: Source, target: str, form: Format) -> Output:
    """The same log with an index for each combination of choices."""
    flat = flattening(one.head.action_space, one.reference)
    head, origin = _derived([one], [np.ones(one.episodes, np.bool_)], "actions flattened to an index")
    head = replace(head, action_space=gym.spaces.Discrete(flat.count)).noting(action_table=flat.to_json())
    columns = tuple(
        Column(column.name, np.dtype(np.int64), (), "step") if column.name in _CHOICES else column
        for column in one.columns
    )

    def change(_: int, arrays: dict[str, Array]) -> dict[str, Array]:
        return {**arrays, **{name: flat.index({"": arrays[name]}) for name in _CHOICES if name in arrays}}

    every = np.ones(one.episodes, np.bool_)
    return Output(target, form, head, columns, (every,), one.seeds, origin, change)


def head_of_log(
    reference: str, target: str, episodes: int, *, force: bool = False, hearing: Hearing | None = None
) -> Made:
    """The first episodes."""
    form = check_free(target, force, reference)
    with source(reference) as one:
        chosen = np.arange(one.episodes) < episodes
        return _write([one], [_part(one, chosen, target, form, f"the first {episodes} episodes")], hearing)[0]


def split(
    reference: str,
    targets: tuple[str, str],
    share: float,
    seed: int,
    *,
    force: bool = False,
    hearing: Hearing | None = None,
) -> list[Made]:
    """Two logs: a share of the episodes, drawn by the seed, and the others; each in the order of the source."""
    if not 0 < share < 1:
        raise UserError(f"share must lie between 0 and 1, found {share}")
    forms = [check_free(target, force, reference) for target in targets]
    if Path(targets[0]).resolve() == Path(targets[1]).resolve():
        raise UserError(f"{targets[0]}: both parts have this name; name two files")
    with source(reference) as one:
        first = round(share * one.episodes)
        if not 0 < first < one.episodes:
            raise UserError(f"{reference}: a share of {share} of {one.episodes} episodes leaves one part empty")
        chosen = np.zeros(one.episodes, np.bool_)
        chosen[np.random.default_rng(seed).permutation(one.episodes)[:first]] = True
        how = (f"a share of {share:g} of the episodes, seed {seed}", f"the rest of a share of {share:g}, seed {seed}")
        parts = zip((chosen, ~chosen), targets, forms, how, strict=True)
        return _write([one], [_part(one, *part) for part in parts], hearing)


@dataclass(frozen=True)
class Wanted:
    """Which episodes to keep: all of these must hold."""

    min_return: float | None = None
    max_return: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    behaviours: tuple[str, ...] = ()
    terminated: bool | None = None

    def words(self) -> str:
        bounds = [
            f"{what} of {side} {value:g}"
            for what, side, value in (
                ("returns", "at least", self.min_return),
                ("returns", "at most", self.max_return),
                ("lengths", "at least", self.min_length),
                ("lengths", "at most", self.max_length),
            )
            if value is not None
        ]
        acted = [f"by {' or '.join(self.behaviours)} alone"] if self.behaviours else []
        ends = [] if self.terminated is None else ["terminated" if self.terminated else "not terminated"]
        return ", ".join(bounds + acted + ends)


def keep(reference: str, target: str, wanted: Wanted, *, force: bool = False, hearing: Hearing | None = None) -> Made:
    """The episodes that are wanted."""
    if wanted == Wanted():
        raise UserError("say which episodes to keep, such as --min-return 100; nothing was asked for")
    form = check_free(target, force, reference)
    with source(reference) as one:
        chosen = _matching(one, wanted)
        if not chosen.any():
            raise UserError(
                f"{reference}: none of {one.episodes} episodes has {wanted.words()}; `fqi data info` tells more"
            )
        return _write([one], [_part(one, chosen, target, form, f"episodes with {wanted.words()}")], hearing)[0]


def _matching(one: Source, wanted: Wanted) -> Array:
    chosen = np.ones(one.episodes, np.bool_)
    if wanted.min_length is not None:
        chosen &= one.lengths >= wanted.min_length
    if wanted.max_length is not None:
        chosen &= one.lengths <= wanted.max_length
    starts = np.cumsum(one.lengths) - one.lengths
    if wanted.min_return is not None or wanted.max_return is not None:
        returns = np.zeros(one.episodes)
        for window in windows(one.lengths, 8):
            rewards = one.rows("rewards", window.steps.start, window.steps.stop).astype(np.float64)
            begin = starts[window.first : window.last] - window.steps.start
            returns[window.first : window.last] += np.add.reduceat(rewards, np.maximum(begin, 0))
        chosen &= returns >= (-np.inf if wanted.min_return is None else wanted.min_return)
        chosen &= returns <= (np.inf if wanted.max_return is None else wanted.max_return)
    if wanted.behaviours:
        unknown = [name for name in wanted.behaviours if name not in one.head.behaviours]
        if unknown or not one.has("behaviour"):
            known = ", ".join(one.head.behaviours) or "none is recorded"
            raise UserError(
                f"{one.reference}: no behaviour {' or '.join(unknown or wanted.behaviours)}; known: {known}"
            )
        good = np.isin(one.head.behaviours, wanted.behaviours)
        for first, behaviour in one.pieces("behaviour"):
            if behaviour.min() < 0 or behaviour.max() >= len(good):
                raise UserError(f"{one.reference}: behaviour: expected an index into {list(one.head.behaviours)}")
            chosen[_episodes(starts, first, len(behaviour))[~good[behaviour]]] = False
    if wanted.terminated is not None:
        ended = np.zeros(one.episodes, np.bool_)
        for first, flags in one.pieces("terminations"):
            ended[_episodes(starts, first, len(flags))[flags]] = True
        chosen &= ended == wanted.terminated
    return chosen


def _episodes(starts: Array, first: int, count: int) -> Array:
    """[count] the episodes of these steps."""
    return np.asarray(np.searchsorted(starts, np.arange(first, first + count), "right") - 1)


def _part(one: Source, chosen: Array, target: str, form: Format, how: str) -> Output:
    head, origin = _derived([one], [chosen], how)
    seeds = None if one.seeds is None else one.seeds[chosen]
    return Output(target, form, head, one.columns, (chosen,), seeds, origin)


# Where episodes come from


def _numbered(source: int, episodes: int) -> Array:
    """[M, 2] the number of the source, and of the episode there."""
    return np.stack([np.full(episodes, source, np.int64), np.arange(episodes)], axis=1)


def _derived(sources: Sequence[Source], chosen: Sequence[Array], how: str) -> tuple[Head, Array]:
    """The head of a log made of parts of others, and where each of its episodes comes from.

    What was made of others itself names their sources, not itself, so that a trail does not end at a passing file.
    """
    roots: list[dict[str, Any]] = []
    origins = []
    for one, picked in zip(sources, chosen, strict=True):
        provenance, first = one.head.provenance, len(roots)
        known = provenance.get("sources")
        if isinstance(known, list) and one.origin is not None and _within(one.origin, len(known)):
            roots += known
            origins.append(one.origin[picked] + [first, 0])
        else:
            roots.append({"reference": one.reference, "episodes": one.episodes, "provenance": provenance})
            origins.append(_numbered(first, one.episodes)[picked])
    head = sources[0].head
    meaning = {name: head.provenance[name] for name in _MEANINGS if name in head.provenance}
    before = head.provenance.get("made") if len(sources) == 1 else None
    steps = [*(before if isinstance(before, list) else []), how]
    said = {"made": steps, **meaning, "sources": roots}
    return replace(head, provenance=said), np.concatenate(origins).astype(np.int64)


def _within(origin: Array, count: int) -> bool:
    return bool(len(origin)) and int(origin[:, 0].min()) >= 0 and int(origin[:, 0].max()) < count


# Merging


def merge(references: Sequence[str], target: str, *, force: bool = False, hearing: Hearing | None = None) -> Made:
    """One log of the episodes of several, in this order; behaviours of one name are one behaviour."""
    if len(references) < 2:
        raise UserError("name two logs or more, and then the one to be made of them")
    form = check_free(target, force, *references)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(source(reference)) for reference in references]
        every = tuple(np.ones(one.episodes, np.bool_) for one in sources)
        head, origin = _derived(sources, every, f"merged of {len(sources)} logs")
        head = replace(
            head,
            observation_space=_common([one.head.observation_space for one in sources], sources, "observation"),
            action_space=_common([one.head.action_space for one in sources], sources, "action"),
            environment=_one_environment(sources),
        )
        _same_meanings(sources)
        names, owns = _behaviours(sources)
        head = replace(head, behaviours=names)
        columns = _common_columns(sources, bool(names))
        seeds = None
        if any(one.seeds is not None for one in sources):
            seeds = np.concatenate([_or_unknown(one) for one in sources])

        def change(number: int, arrays: dict[str, Array]) -> dict[str, Array]:
            steps = len(arrays["rewards"])
            found = {c.name: np.asarray(arrays[c.name], c.dtype) for c in columns if c.name in arrays}
            if names:
                found["behaviour"] = owns[number][arrays.get("behaviour", np.zeros(steps, np.int32))]
            for column in columns:
                if column.name == "action_mask" and column.name not in found:  # no mask: everything is legal
                    frames = len(found[columns[0].name])
                    found[column.name] = np.ones((frames, *column.shape), np.bool_)
            return found

        lost = [
            f"{name} (missing in {', '.join(one.reference for one in sources if not one.has(name))})"
            for name in ("propensity", "label")
            if any(one.has(name) for one in sources) and not all(one.has(name) for one in sources)
        ]
        if lost:
            (hearing or Hearing()).losing(target, lost)
        output = Output(target, form, head, columns, every, seeds, origin, change)
        return _write(sources, [output], hearing)[0]


def _common(found: Sequence[gym.Space[Any]], sources: Sequence[Source], what: str) -> gym.Space[Any]:
    """The space that all of them have; boxes may differ in their bounds, and the widest are taken."""
    first = found[0]
    for space, one in zip(found, sources, strict=True):
        mine, theirs = leaf_spaces(first), leaf_spaces(space)
        if not spaces.alike(first, space) or any(mine[p].dtype != theirs[p].dtype for p in mine):
            raise UserError(
                f"{one.reference}: its {what}s are of {_short(space)}, those of {sources[0].reference} of "
                f"{_short(first)}; only logs of the same spaces can be merged"
            )
    return _widest(found)


def _widest(found: Sequence[gym.Space[Any]]) -> gym.Space[Any]:
    first = found[0]
    if isinstance(first, gym.spaces.Dict):
        dicts = [space for space in found if isinstance(space, gym.spaces.Dict)]
        return gym.spaces.Dict([(key, _widest([space[key] for space in dicts])) for key in first.spaces])
    if isinstance(first, gym.spaces.Tuple):
        tuples = [space for space in found if isinstance(space, gym.spaces.Tuple)]
        return gym.spaces.Tuple([_widest([space[i] for space in tuples]) for i in range(len(first.spaces))])
    if isinstance(first, gym.spaces.Box):
        boxes = [space for space in found if isinstance(space, gym.spaces.Box)]
        low = np.minimum.reduce([box.low for box in boxes])
        high = np.maximum.reduce([box.high for box in boxes])
        dtype: Any = np.dtype(first.dtype).type
        return gym.spaces.Box(low, high, first.shape, dtype)
    return first


def _short(space: gym.Space[Any]) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 100 else text[:99] + "…"


def _one_environment(sources: Sequence[Source]) -> dict[str, Any] | None:
    first = sources[0].head.environment
    return first if all(one.head.environment == first for one in sources) else None


def _same_meanings(sources: Sequence[Source]) -> None:
    """Numbers must stand for the same thing in all logs."""
    for name in _MEANINGS:
        known = [(one, one.head.provenance[name]) for one in sources if name in one.head.provenance]
        for one, meaning in known[1:]:
            if meaning != known[0][1]:
                raise UserError(
                    f"{one.reference}: {name} differ from those of {known[0][0].reference} "
                    f"({str(meaning)[:60]} and {str(known[0][1])[:60]}); convert one again in the order of the other"
                )


def _behaviours(sources: Sequence[Source]) -> tuple[tuple[str, ...], list[Array]]:
    """The names of all behaviours, and by log the new number of each of its own.

    A log that names none is itself a behaviour, by the name of its file.
    """
    own = [one.head.behaviours if one.has("behaviour") else (_stem(one.reference),) for one in sources]
    names = tuple(dict.fromkeys(name for some in own for name in some))
    return names, [np.array([names.index(name) for name in some], np.int32) for some in own]


def _stem(reference: str) -> str:
    name = reference.rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or name


def _common_columns(sources: Sequence[Source], behaviour: bool) -> tuple[Column, ...]:
    found: dict[str, Column] = {}
    for one in sources:
        for column in one.columns:
            known = found.setdefault(column.name, column)
            found[column.name] = replace(known, dtype=np.result_type(known.dtype, column.dtype))
    everywhere = {name for name in found if all(one.has(name) for one in sources)}
    order = [*map(leaf_name, leaf_spaces(sources[0].head.observation_space)), "actions", "rewards", "terminations"]
    kept = [found[name] for name in [*order, "truncations"]]
    kept += [found["propensity"]] if "propensity" in everywhere else []
    kept += [Column("behaviour", np.dtype(np.int32), (), "step")] if behaviour else []
    kept += [found["label"]] if "label" in everywhere else []
    kept += [found["action_mask"]] if "action_mask" in found else []
    return tuple(kept)


def _or_unknown(one: Source) -> Array:
    return np.full(one.episodes, -1, np.int64) if one.seeds is None else one.seeds


# Writing


def _write(sources: Sequence[Source], outputs: Sequence[Output], hearing: Hearing | None) -> list[Made]:
    hearing = hearing or Hearing()
    total = sum(one.steps for one in sources)
    outputs = [replace(output, losing=hearing.losing) for output in outputs]
    write(sources, outputs, lambda done: hearing.progress(done, total))
    made = []
    for output in outputs:
        lengths = [one.lengths[chosen] for one, chosen in zip(sources, output.chosen, strict=True)]
        steps, episodes = sum(int(some.sum()) for some in lengths), sum(map(len, lengths))
        made.append(Made(output.path, steps, episodes, provenance=output.head.provenance))
    return made

"""Rows of a table, in any order, as the columns of a log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import Columns, Head, leaf_name
from fqi.datasets.formats.cells import Cells, Kind, Table
from fqi.datasets.formats.mapping import Mapping
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

_KINDS: dict[str, Kind] = {
    "episode": "word",
    "behaviour": "word",
    "action": "either",
    "label": "either",
    "mask": "list",
    "next_mask": "list",
}
_MOST_CHOICES = 1 << 31  # whole numbers beyond it are no choices
_SAME = 1e-5  # relative: a table may have been written with fewer digits in one of two columns


def wanted(mapping: Mapping) -> dict[str, Kind]:
    """The columns to read, and what each of them holds."""
    kinds: dict[str, Kind] = {name: _KINDS.get(role, "number") for name, role in mapping.used().items()}
    if mapping.options.actions:  # what has names is words, though it may look like a number
        for role in ("action", "label"):
            kinds |= dict.fromkeys(mapping.columns(role).get("", ()), "word")
    return kinds


@dataclass(frozen=True)
class _Rows:
    """The rows by episode and step, and where they stand in the file."""

    order: Array  # [N] rows of the file
    starts: Array  # [M]
    lengths: Array  # [M]
    ids: tuple[Any, ...]  # [M] what the file calls the episodes

    @property
    def lasts(self) -> Array:
        return np.asarray(self.starts + self.lengths - 1)

    def row(self, position: int) -> int:
        """The row of the file, counted from 1, that stands here."""
        return int(self.order[position]) + 1


@dataclass(frozen=True)
class _Ends:
    """[M] each: what happens at the last row of an episode."""

    termination: Array
    truncation: Array
    final: Array  # the row is itself the final frame and no step
    given: Array  # the final frame is given by the columns of next observations


def columns_of_table(table: Table, mapping: Mapping, reference: str) -> Columns:
    """The columns of a log, unchecked, and a head that says what was made of the table."""
    if not table.rows:
        raise UserError(f"{table.source}: expected at least one row, found none below the header")
    _Reader.refuse_blanks(table, mapping)
    return _Reader(table, mapping, reference).columns()


class _Reader:
    def __init__(self, table: Table, mapping: Mapping, reference: str) -> None:
        self.table, self.mapping, self.options = table, mapping, mapping.options
        self.source, self.reference = table.source, reference
        self.notes: dict[str, int] = {}

    @staticmethod
    def refuse_blanks(table: Table, mapping: Mapping) -> None:
        """Every cell is needed, but for those that are checked where they are used."""
        spared = {"next_observation", "next_mask", "mask"}
        if mapping.options.is_last is not None:  # where there is no action
            spared |= {"action", "label", "reward", "propensity", "behaviour"}
        for name, role in mapping.used().items():
            cells = table.cells[name]
            if role not in spared and cells.present is not None and not cells.present.all():
                row = int(np.flatnonzero(~cells.present)[0])
                raise UserError(f"{table.source}: row {row + 1}: column {name}: expected a value, found a blank cell")

    def columns(self) -> Columns:
        self.rows = self._ordered()
        ends = self._ends()
        keep = np.ones(self.table.rows, np.bool_)
        keep[self.rows.lasts[ends.final]] = False
        steps = self.rows.lengths - ends.final  # [M]
        some = steps > 0
        self._note("episodes without a step, left out", np.count_nonzero(~some))
        if not some.any():
            raise UserError(f"{self.source}: expected at least one step, found only final frames")
        self._steps = np.flatnonzero(keep)  # positions of the rows that are steps
        self._frames = self._frame_sources(ends, some)
        arrays = self._observations(ends)
        taken, action_space, names = self._actions()
        arrays["actions"] = taken["action"]
        if "label" in taken:
            arrays["label"] = taken["label"]
        reward = self._single("reward")
        arrays["rewards"] = self._taken(reward, self._steps).astype(
            reward.values.dtype if reward.values.dtype.kind == "f" else np.float64
        )
        lengths = steps[some].astype(np.int64)
        last = np.cumsum(lengths) - 1
        for name, flags in (("terminations", ends.termination), ("truncations", ends.truncation)):
            arrays[name] = np.zeros(len(self._steps), np.bool_)
            arrays[name][last] = flags[some]
        arrays["lengths"] = lengths
        head = self._head(arrays, action_space, names)
        behaviours = self._optional(arrays, head.action_space, names, ends, some)
        head = Head(
            head.observation_space, head.action_space, behaviours, head.environment, self._provenance(names, some)
        )
        self._cast(arrays, head)
        for name, dtype in (self._said("dtypes", dict) or {}).items():
            if name in arrays and dtype in ("float32", "float64"):
                arrays[name] = arrays[name].astype(dtype)
        return Columns(self.reference, head, arrays)

    # Rows in order

    def _ordered(self) -> _Rows:
        count = self.table.rows
        if self.options.episode is None:
            return self._split_by_ends()
        cells = self.table.cells[self.options.episode]
        if self.options.step is None:
            order = np.argsort(cells.values, kind="stable")
        else:
            order = np.lexsort((self._step_numbers(), cells.values))
        codes = cells.values[order]
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        lengths = np.diff(np.concatenate((starts, [count])))
        words = cells.words or ()
        rows = _Rows(order, starts, lengths, tuple(words[code] for code in codes[starts].tolist()))
        if self.options.step is not None:
            self._check_steps(rows)
        elif (np.diff(order) < 0).any() or len(starts) > 1:
            self._check_together(cells)
        return rows

    def _check_together(self, cells: Cells) -> None:
        """Without step numbers, an episode that goes on after another may as well be two."""
        changes = np.flatnonzero(cells.values[1:] != cells.values[:-1]) + 1
        _, first = np.unique(cells.values, return_index=True)
        again = np.setdiff1d(changes, first)
        if len(again):
            row, words = int(again[0]), cells.words or ()
            raise UserError(
                f"{self.source}: row {row + 1}: column {cells.name}: episode {words[cells.values[row]]!r} goes on "
                "after another one, and nothing tells in which order; name the column of step numbers by --step"
            )

    def _step_numbers(self) -> Array:
        cells = self._single("step")
        if cells.values.ndim != 1 or cells.values.dtype.kind not in "iuf":
            raise self._fault(cells.name, "numbers of steps", cells.values.dtype)
        if cells.values.dtype.kind == "f" and not np.isfinite(cells.values).all():
            row = int(np.flatnonzero(~np.isfinite(cells.values))[0])
            raise self._fault(cells.name, "a number", "nan", row + 1)
        return cells.values

    def _check_steps(self, rows: _Rows) -> None:
        """Every step of an episode once, and none left out."""
        name = str(self.options.step)
        numbers = self.table.cells[name].values[rows.order]
        gap = np.diff(numbers)
        inside = np.ones(len(gap), np.bool_)
        inside[rows.starts[1:] - 1] = False
        twice = np.flatnonzero(inside & (gap == 0))
        episode = np.searchsorted(rows.starts, twice[:1], "right") - 1
        if len(twice):
            row, other = rows.row(int(twice[0]) + 1), rows.row(int(twice[0]))
            raise UserError(
                f"{self.source}: row {row}: column {name}: step {numbers[twice[0]]} of episode "
                f"{rows.ids[int(episode[0])]!r} is there twice (also in row {other})"
            )
        if self.options.step_means == "order":
            return
        missing = np.flatnonzero(inside & (gap != 1))
        if len(missing):
            at = int(missing[0])
            expected = f"step {numbers[at] + 1} after step {numbers[at]} (row {rows.row(at)})"
            why = "rows are missing, or the numbers only put rows in order, which --step-means order says"
            raise self._fault(name, expected, f"{numbers[at + 1]}: {why}", rows.row(at + 1))

    def _split_by_ends(self) -> _Rows:
        """Episodes back to back, in the order of the rows, told apart by their flags."""
        count = self.table.rows
        if self.options.is_last is not None:
            ends = self._flag("is_last")
            begins = self._flag("is_first") if self.options.is_first else None
        else:
            ends, begins = self._any_flag(), None
        cut = np.concatenate(([True], ends[:-1]))
        if begins is not None:
            cut |= begins
        starts = np.flatnonzero(cut)
        lengths = np.diff(np.concatenate((starts, [count])))
        return _Rows(np.arange(count), starts, lengths, tuple(range(len(starts))))

    def _any_flag(self) -> Array:
        found = np.zeros(self.table.rows, np.bool_)
        for role in ("termination", "truncation", "done"):
            if getattr(self.options, role) is not None:
                found |= self._flag(role)
        return found

    # How episodes end

    def _ends(self) -> _Ends:
        rows, lasts = self.rows, self.rows.lasts
        if self.options.is_last is not None:
            return self._rlds_ends()
        termination, truncation = self._end_flags()
        neither = ~(termination | truncation)
        if self.options.ends == "termination":
            termination |= neither
            self._note("episodes that end without a flag, read as terminated", np.count_nonzero(neither))
        else:
            truncation |= neither
            self._note("episodes that end without a flag, read as cut", np.count_nonzero(neither))
        given = self._next_present()[rows.order][lasts]
        final = truncation & ~termination & ~given
        self._note(
            "cut episodes without a final frame: their last row gives it and is no step", np.count_nonzero(final)
        )
        missing = termination & ~given
        self._note(
            "terminated episodes without a final frame: their last one is repeated, which no target reads",
            np.count_nonzero(missing),
        )
        return _Ends(termination, truncation, final, given)

    def _end_flags(self) -> tuple[Array, Array]:
        lasts, lengths = self.rows.lasts, self.rows.lengths
        found = {}
        for role in ("termination", "truncation"):
            name = getattr(self.options, role)
            found[role] = self._at_ends(role) if name is not None else np.zeros(len(lasts), np.bool_)
        if self.options.done is not None:
            done = self._at_ends("done")
            if self.options.time_limit is not None:
                over = lengths > self.options.time_limit
                if over.any():
                    episode = int(np.flatnonzero(over)[0])
                    row = self.rows.row(int(self.rows.starts[episode]) + self.options.time_limit)
                    raise UserError(
                        f"{self.source}: row {row}: episode {self.rows.ids[episode]!r} has {lengths[episode]} steps, "
                        f"more than the time limit of {self.options.time_limit}"
                    )
                cut = done & (lengths == self.options.time_limit)
                found["truncation"] |= cut
                found["termination"] |= done & ~cut
            elif self.options.done_means is not None:
                found[self.options.done_means] |= done
            else:  # one of both is known: what is done and not that one is the other
                known = "termination" if self.options.termination is not None else "truncation"
                other = "truncation" if known == "termination" else "termination"
                found[other] |= done & ~found[known]
        return found["termination"], found["truncation"]

    def _at_ends(self, role: str) -> Array:
        """[M] the flag in each episode's last row; it may be set nowhere else."""
        flags = self._flag(role)[self.rows.order]
        inside = flags.copy()
        inside[self.rows.lasts] = False
        if inside.any():
            at = int(np.flatnonzero(inside)[0])
            episode = self.rows.ids[int(np.searchsorted(self.rows.starts, at, "right")) - 1]
            found = f"one, though episode {episode!r} goes on after it"
            raise self._fault(getattr(self.options, role), "no end inside an episode", found, self.rows.row(at))
        return np.asarray(flags[self.rows.lasts])

    def _rlds_ends(self) -> _Ends:
        rows = self.rows
        last = self._flag("is_last")[rows.order]
        if self.options.is_first is not None:
            first = self._flag("is_first")[rows.order]
            expected = np.zeros(len(first), np.bool_)
            expected[rows.starts] = True
            self._same_flags(first, expected, "is_first", "an episode's first row")
        expected = np.zeros(len(last), np.bool_)
        expected[rows.lasts] = True
        self._same_flags(last | expected, expected, "is_last", "an episode's last row")
        self._note("episodes without a last row marked, read as cut", np.count_nonzero(~last[rows.lasts]))
        if self.options.termination is None:
            raise UserError(f"{self.source}: which column is is_terminal? name it by --termination COLUMN")
        termination = self._at_ends("termination")
        every = np.ones(len(rows.starts), np.bool_)
        return _Ends(termination, ~termination, every, ~every)

    def _same_flags(self, found: Array, expected: Array, role: str, where: str) -> None:
        if (found != expected).any():
            at = int(np.flatnonzero(found != expected)[0])
            name = getattr(self.options, role)
            why = f"{bool(expected[at])}, since this is {'' if expected[at] else 'not '}{where}"
            raise self._fault(name, why, bool(found[at]), self.rows.row(at))

    # Frames

    def _next_present(self) -> Array:
        """[N], in the order of the file: whether the observation after the step is given."""
        nest = self.mapping.columns("next_observation")
        if not nest:
            return np.zeros(self.table.rows, np.bool_)
        there = [self.table.cells[name].there for names in nest.values() for name in names]
        every = np.logical_and.reduce(there)
        some = np.logical_or.reduce(there)
        if (every != some).any():
            row = int(np.flatnonzero(every != some)[0])
            raise UserError(f"{self.source}: row {row + 1}: expected the whole next observation or none, found a part")
        return np.asarray(every)

    def _frame_sources(self, ends: _Ends, some: Array) -> tuple[Array, Array]:
        """[F] the position of the row that each frame comes from, and whether it is that row's next observation."""
        counts = self.rows.lengths + ~ends.final  # [M] frames
        position = np.repeat(self.rows.starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        over = np.cumsum(counts) - 1  # [M] each episode's final frame
        position[over] = self.rows.lasts
        following = np.zeros(len(position), np.bool_)
        following[over] = ends.given & ~ends.final
        keep = np.repeat(some, counts)
        return position[keep], following[keep]

    def _observations(self, ends: _Ends) -> dict[str, Array]:
        nest, following = self.mapping.columns("observation"), self.mapping.columns("next_observation")
        position, is_next = self._frames
        found: dict[str, Array] = {}
        for path, names in nest.items():
            values = self._joined(names)
            frames = values[self.rows.order[position]]
            if following:
                ahead = self._joined(following[path], like=values)
                self._check_following(values, ahead, following[path][0])
                frames = frames.astype(np.result_type(values, ahead), copy=False)
                frames[is_next] = ahead[self.rows.order[position[is_next]]]
            found[leaf_name(path)] = frames
        return found

    def _check_following(self, values: Array, ahead: Array, name: str) -> None:
        """The next observation of a row is the observation of the row that follows."""
        order, there = self.rows.order, self._next_present()[self.rows.order]
        pairs = there.copy()
        pairs[self.rows.lasts] = False
        at = np.flatnonzero(pairs)
        mine, theirs = ahead[order[at]].astype(np.float64), values[order[at + 1]].astype(np.float64)
        wrong = ~np.isclose(mine, theirs, rtol=_SAME, atol=1e-8, equal_nan=True)
        wrong = np.asarray(wrong.any(axis=tuple(range(1, wrong.ndim))))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            row, following = self.rows.row(int(at[first])), self.rows.row(int(at[first]) + 1)
            expected = f"the observation of the following row ({following}), {_few(theirs[first])}"
            raise self._fault(name, expected, _few(mine[first]), row)

    def _joined(self, names: tuple[str, ...], like: Array | None = None) -> Array:
        """[N, …] several columns side by side, or one as it is."""
        cells = [self.table.cells[name] for name in names]
        for one in cells:
            if one.words is not None:
                raise self._fault(one.name, "numbers", repr(one.words[0]))
        if len(cells) == 1:
            if like is not None and cells[0].values.shape != like.shape and not cells[0].there.any():
                return np.zeros_like(like)
            if like is not None and cells[0].values.shape != like.shape:
                expected = f"shape {like.shape[1:]} as of the observation"
                raise self._fault(names[0], expected, cells[0].values.shape[1:])
            return cells[0].values
        for one in cells:
            if one.values.ndim != 1:
                raise self._fault(one.name, "one number a row", one.values.shape[1:])
        return np.stack([one.values for one in cells], axis=1)

    # Actions

    def _actions(self) -> tuple[dict[str, Array], gym.Space[Any], tuple[str, ...] | None]:
        """The actions, and labels where there are some, their space, and their names if they have any."""
        cells = {
            role: [self.table.cells[name] for name in self.mapping.columns(role)[""]]
            for role in ("action", "label")
            if self.mapping.columns(role)
        }
        every = [one for some in cells.values() for one in some]
        for one in every:
            self._there(one, self._steps)
        worded = [one for one in every if one.words is not None]
        if worded:
            odd = next((one for one in every if one.words is None), None)
            if odd is not None or len(every) > len(cells):
                raise self._fault(worded[0].name, "numbers", repr((worded[0].words or ("",))[0]))
            return self._named_actions({role: some[0] for role, some in cells.items()})
        found = {role: self._numbered_actions(some) for role, some in cells.items()}
        if len({values.shape for values in found.values()}) > 1:
            label = self.mapping.columns("label")[""][0]
            raise self._fault(label, f"shape {found['action'].shape[1:]} as of the action", found["label"].shape[1:])
        joined = np.concatenate(list(found.values()))
        if joined.dtype.kind in "iu" and max(int(joined.max()), -int(joined.min())) >= _MOST_CHOICES:
            found_one = joined.max() if int(joined.max()) >= _MOST_CHOICES else joined.min()
            raise self._fault(every[0].name, f"numbers of actions, below {_MOST_CHOICES}", found_one)
        return found, _action_space(joined), None

    def _numbered_actions(self, cells: list[Cells]) -> Array:
        values = self._joined(tuple(one.name for one in cells))[self.rows.order[self._steps]]
        blanks = any(one.present is not None and not one.present.all() for one in cells)
        if blanks and values.dtype.kind == "f" and (values == np.round(values)).all():
            values = values.astype(np.int64)  # other tools make floats of whole numbers beside blanks
        return values

    def _named_actions(self, cells: dict[str, Cells]) -> tuple[dict[str, Array], gym.Space[Any], tuple[str, ...]]:
        codes = {role: one.values[self.rows.order[self._steps]] for role, one in cells.items()}
        used = {
            (one.words or ())[code] for role, one in cells.items() for code in np.unique(codes[role]).tolist()
        } | set(self._legal_names())  # a list of legal actions may name one that was never taken
        names = tuple(self.options.actions.split(",")) if self.options.actions else tuple(sorted(used))
        found = {}
        for role, one in cells.items():
            place = {name: i for i, name in enumerate(names)}
            numbers = np.array([place.get(word, -1) for word in one.words or ()], np.int64)[codes[role]]
            unknown = np.flatnonzero(numbers < 0)
            if len(unknown):
                word, row = (one.words or ())[codes[role][unknown[0]]], self.rows.row(int(self._steps[unknown[0]]))
                raise self._fault(one.name, f"one of {names}", repr(word), row)
            found[role] = numbers
        return found, gym.spaces.Discrete(len(names)), names

    def _legal_names(self) -> list[str]:
        name = self.options.mask
        if name is None or self.options.mask_means == "flags":
            return []
        return [item for legal in self.table.cells[name].lists or [] for item in legal or [] if isinstance(item, str)]

    # What may be there

    def _optional(
        self, arrays: dict[str, Array], space: gym.Space[Any], names: tuple[str, ...] | None, ends: _Ends, some: Array
    ) -> tuple[str, ...]:
        behaviours: tuple[str, ...] = ()
        if self.options.propensity is not None:
            values = self._taken(self._single("propensity"), self._steps)
            arrays["propensity"] = values if values.dtype.kind == "f" else values.astype(np.float64)
        if self.options.behaviour is not None:
            cells = self._single("behaviour")
            codes, words = self._taken(cells, self._steps), cells.words or ()
            used = {words[code] for code in np.unique(codes).tolist()}
            behaviours = tuple(self._said("behaviours", list) or sorted(used))
            unknown = used - set(behaviours)
            if unknown:
                raise self._fault(cells.name, f"one of {behaviours}", repr(min(unknown)))
            place = {name: i for i, name in enumerate(behaviours)}
            arrays["behaviour"] = np.array([place.get(word, -1) for word in words], np.int32)[codes]
        if self.options.mask is not None:
            arrays["action_mask"] = self._mask(space, names)
        if self.options.seed is not None:
            seeds = self._per_episode(self.options.seed)[some]
            arrays["seeds"] = seeds
        if "origin" in self.mapping.several:
            arrays["origin"] = np.stack(
                [self._per_episode(name)[some] for name in self.mapping.columns("origin")[""]], axis=1
            )
        elif self.options.episode is not None and "provenance" not in self.mapping.said:
            arrays["origin"] = self._episode_numbers(some)
        return behaviours

    def _episode_numbers(self, some: Array) -> Array:
        """Where each episode came from: source 0, which is the table, and its number there."""
        numbers = np.arange(len(some))
        texts = self.rows.ids
        if all(isinstance(t, str) and t.isascii() and t.isdigit() and len(t) < 19 for t in texts):
            numbers = np.array([int(t) for t in texts], np.int64)
        return np.stack([np.zeros(int(some.sum()), np.int64), numbers[some]], axis=1)

    def _per_episode(self, name: str) -> Array:
        values = self.table.cells[name].values
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise self._fault(name, "whole numbers", values.dtype)
        values = values[self.rows.order].astype(np.int64)
        same = values == np.repeat(values[self.rows.starts], self.rows.lengths)
        if not same.all():
            row = self.rows.row(int(np.flatnonzero(~same)[0]))
            raise UserError(f"{self.source}: row {row}: column {name}: expected one value in all rows of an episode")
        return np.asarray(values[self.rows.starts])

    def _mask(self, space: gym.Space[Any], names: tuple[str, ...] | None) -> Array:
        """[F, A] legal actions; where the final frame's are not given, all of them."""
        if not isinstance(space, gym.spaces.Discrete):
            raise self._fault(self.options.mask, "Discrete actions beside it", space)
        count, low = int(space.n), int(space.start)
        position, is_next = self._frames
        name, next_name = str(self.options.mask), self.options.next_mask
        lists = self.table.cells[name].lists or []
        flags = self._holds_flags(lists, count, name)
        place = {text: i for i, text in enumerate(names or ())} | {i + low: i for i in range(count)}
        ahead = self.table.cells[next_name].lists or [] if next_name else [None] * len(lists)
        mask = np.ones((len(position), count), np.bool_)
        unknown = 0
        after = is_next | np.concatenate(([False], position[1:] == position[:-1]))  # or the repeated frame of a row
        final = after | np.concatenate((np.diff(self._episode_of(position)) != 0, [True]))
        for frame, row in enumerate(self.rows.order[position].tolist()):
            legal = ahead[row] if after[frame] else lists[row]
            column = next_name if after[frame] else name
            if legal is None:
                if not final[frame]:
                    raise self._fault(name, "legal actions", "a blank", row + 1)
                unknown += 1
                continue
            mask[frame] = self._legal(legal, flags, count, place, row, str(column))
        self._note("final frames whose legal actions are not given: all are taken as legal", unknown)
        return mask

    def _episode_of(self, positions: Array) -> Array:
        return np.asarray(np.searchsorted(self.rows.starts, positions, "right"))

    def _holds_flags(self, lists: list[Any], count: int, name: str) -> bool:
        if self.options.mask_means is not None:
            return self.options.mask_means == "flags"
        known = [legal for legal in lists if legal is not None]
        items = {type(item) for legal in known for item in legal}
        if items <= {bool} or str in items:
            return str not in items
        if all(len(legal) == count and set(legal) <= {0, 1} for legal in known):
            if count > 2 or all(legal == [1, 1] for legal in known) or "mask" in name.lower():
                return True
            if "possible" in name.lower() or "legal" in name.lower():
                return False
            raise UserError(f"{self.source}: column {name}: flags or actions? say --mask-means flags, or actions")
        return False

    def _legal(self, legal: list[Any], flags: bool, count: int, place: dict[Any, int], row: int, name: str) -> Array:
        where = f"{self.source}: row {row + 1}: column {name}"
        if flags:
            if len(legal) != count or not all(isinstance(f, int) and f in (0, 1) for f in legal):
                raise UserError(f"{where}: expected {count} flags, found {_few(legal)}")
            return np.array(legal, np.bool_)
        found = np.zeros(count, np.bool_)
        for item in legal:
            index = place.get(item) if isinstance(item, str | int) and not isinstance(item, bool) else None
            if index is None and isinstance(item, str) and item.lstrip("-").isdigit():
                index = place.get(int(item))
            if index is None:
                raise UserError(f"{where}: expected actions among {_few(list(place))}, found {item!r}")
            found[index] = True
        return found

    # The head

    def _head(self, arrays: dict[str, Array], action_space: gym.Space[Any], names: tuple[str, ...] | None) -> Head:
        observation_space = self._said_space("observation_space")
        stated_actions = self._said_space("action_space")
        record = self._said("record", dict)
        if self.options.environment is not None:
            record, made_observation, made_actions = _made(self.options.environment, self.source)
            observation_space, stated_actions = observation_space or made_observation, stated_actions or made_actions
        if stated_actions is not None and names is not None:
            if not isinstance(stated_actions, gym.spaces.Discrete) or int(stated_actions.n) < len(names):
                raise UserError(f"{self.source}: expected actions of {stated_actions}, found the names {names}")
            for name in ("actions", "label"):
                if name in arrays:
                    arrays[name] += int(stated_actions.start)
        if observation_space is None:
            observation_space = self._found_space(arrays)
        return Head(observation_space, stated_actions or action_space, (), record)

    def _found_space(self, arrays: dict[str, Array]) -> gym.Space[Any]:
        """The space of the observations, as far as the table shows it."""
        nest = self.mapping.columns("observation")
        found = {path: _observation_space(arrays[leaf_name(path)]) for path in nest}
        return found[""] if list(found) == [""] else _nested(found)

    def _said_space(self, name: str) -> gym.Space[Any] | None:
        text = self._said(name, dict)
        try:
            return None if text is None else spaces.from_json(text)
        except UserError as error:
            raise UserError(f"{self.mapping.where}: {name}: {error}") from error

    def _said(self, name: str, kind: type) -> Any:
        text = self.mapping.said.get(name)
        if text is None:
            return None
        try:
            value = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, kind):
            raise UserError(
                f"{self.mapping.where}: {name}: expected JSON of a {kind.__name__}, found {str(text)[:60]!r}"
            )
        return value

    def _cast(self, arrays: dict[str, Array], head: Head) -> None:
        """Values as their space has them, where none is changed by it."""
        parts = {leaf_name(path): space for path, space in leaf_spaces(head.observation_space).items()}
        parts |= {"actions": head.action_space, "label": head.action_space}
        for name, space in parts.items():
            if name not in arrays:
                continue
            array, dtype = arrays[name], np.dtype(space.dtype)
            if array.shape[1:] == (1,) and space.shape == ():
                array = array[:, 0]
            elif array.ndim == 1 and space.shape == (1,):
                array = array[:, None]
            if array.dtype != dtype:
                with np.errstate(all="ignore"):
                    cast = array.astype(dtype)
                changed = (
                    (cast != array) & ~(array != array) if dtype.kind != "f" else np.isinf(cast) & ~np.isinf(array)
                )
                if changed.any():
                    bad = int(np.flatnonzero(changed.reshape(len(array), -1).any(axis=1))[0])
                    raise UserError(
                        f"{self.source}: {name} {bad}: expected {dtype} of {space}, found {_few(array[bad])}"
                    )
                array = cast
            arrays[name] = array

    def _provenance(self, names: tuple[str, ...] | None, some: Array) -> dict[str, Any]:
        said = self._said("provenance", dict)
        notes = {what: count for what, count in self.notes.items() if count}
        if said is not None:
            return {**said, **({"notes": notes} if notes else {})}
        found: dict[str, Any] = {
            "source": "table",
            "reference": self.reference,
            "columns": {role: name for name, role in self.mapping.used().items() if role not in self.mapping.several},
        }
        for role, nest in self.mapping.several.items():
            found["columns"][role] = nest[""] if list(nest) == [""] else nest
        if self.table.unread:
            found["columns_not_read"] = list(self.table.unread[:100])
        if names is not None:
            found["action_names"] = list(names)
        keys = {c.name: list(c.keys) for c in self.table.cells.values() if c.keys is not None}
        if keys:
            found["keys"] = keys  # what each number of a JSON map stands for
        if self.options.episode is not None:
            ids = [name for name, there in zip(self.rows.ids, some.tolist(), strict=True) if there]
            if not all(isinstance(t, str) and t.isascii() and t.isdigit() and len(t) < 19 for t in self.rows.ids):
                found["episode_ids"] = ids
        if notes:
            found["notes"] = notes
        return found

    # Cells

    def _fault(self, column: object, expected: str, found: object, row: int | None = None) -> UserError:
        """What is wrong with a column, in a row counted from 1 where it is in one."""
        where = "" if row is None else f"row {row}: "
        return UserError(f"{self.source}: {where}column {column}: expected {expected}, found {found}")

    def _note(self, what: str, count: Any) -> None:
        if count:
            self.notes[what] = self.notes.get(what, 0) + int(count)

    def _single(self, role: str) -> Cells:
        return self.table.cells[str(getattr(self.options, role))]

    def _taken(self, cells: Cells, positions: Array) -> Array:
        """One number for each of these rows, none of them blank."""
        self._there(cells, positions)
        if cells.values.ndim != 1:
            raise self._fault(cells.name, "one number a row", cells.values.shape[1:])
        return cells.values[self.rows.order[positions]]

    def _there(self, cells: Cells, positions: Array) -> None:
        if cells.present is None:
            return
        blank = np.flatnonzero(~cells.present[self.rows.order[positions]])
        if len(blank):
            row = self.rows.row(int(positions[blank[0]]))
            raise self._fault(cells.name, "a value", "a blank cell", row)

    def _flag(self, role: str) -> Array:
        """[N] in the order of the file."""
        cells = self._single(role)
        values = cells.values
        if values.ndim == 1 and values.dtype == np.bool_:
            return values
        bad = np.ones(len(values), np.bool_) if values.ndim != 1 else (values != 0) & (values != 1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self._fault(cells.name, "a flag", _few(values[row]), row + 1)
        return values.astype(np.bool_)


def _action_space(values: Array) -> gym.Space[Any]:
    """Whole numbers are choices, others are quantities."""
    if values.dtype == np.bool_:
        return gym.spaces.Discrete(2) if values.ndim == 1 else gym.spaces.MultiBinary(values.shape[1:])
    if values.dtype.kind in "iu":
        low, high = values.min(axis=0), values.max(axis=0)
        if values.ndim == 1:
            start = min(0, int(low))
            return gym.spaces.Discrete(int(high) - start + 1, start=start)
        if (low >= 0).all():
            return gym.spaces.MultiDiscrete(high.astype(np.int64) + 1)
        return _box(values)
    return _box(values)


def _observation_space(values: Array) -> gym.Space[Any]:
    """A single whole number that is never negative is one of so many states; anything else is what it is."""
    whole = values.ndim == 1 and values.dtype.kind in "iu" and values.size > 0
    if whole and values.min() >= 0 and values.max() < _MOST_CHOICES:
        return gym.spaces.Discrete(int(values.max()) + 1)
    return _box(values)


def _box(values: Array) -> gym.Space[Any]:
    dtype = values.dtype if values.dtype != np.bool_ else np.dtype(np.uint8)
    low: Any = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
    high: Any = np.inf if dtype.kind == "f" else np.iinfo(dtype).max
    if values.dtype == np.bool_:
        high = 1
    return gym.spaces.Box(low, high, values.shape[1:], dtype.type)


def _nested(found: dict[str, gym.Space[Any]]) -> gym.Space[Any]:
    """The Dict space of these leaves."""
    outer: dict[str, Any] = {}
    for path, space in found.items():
        *parents, last = path.split("/")
        here = outer
        for key in parents:
            here = here.setdefault(key, {})
        here[last] = space

    def built(inner: dict[str, Any]) -> gym.spaces.Dict:
        return gym.spaces.Dict([(key, built(sub) if isinstance(sub, dict) else sub) for key, sub in inner.items()])

    return built(outer)


def _made(name: str, source: str) -> tuple[dict[str, Any], gym.Space[Any], gym.Space[Any]]:
    """The record of an environment and its spaces. The name may come from a file, so no module is imported for it."""
    from fqi.environments.make import environment_record, make_single

    try:
        record = environment_record(name)
        env = make_single(record)
    except UserError as error:
        raise UserError(f"{source}: environment: {error}") from error
    try:
        return record, env.observation_space, env.action_space
    finally:
        env.close()


def _few(value: Any) -> str:
    flat = np.asarray(value).reshape(-1)
    text = ", ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in flat[:6].tolist())
    return f"[{text}{', …' if flat.size > 6 else ''}]" if np.ndim(value) else text

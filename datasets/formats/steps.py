"""Rows of a table, in any order, as the columns of a log."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import Columns, Head, leaf_name
from fqi.datasets.formats.cells import Kind, Table
from fqi.datasets.formats.choices import Choices, choices, mask, space_of
from fqi.datasets.formats.ending import Ends, ends
from fqi.datasets.formats.extents import Extent
from fqi.datasets.formats.found_provenance import found_origin, found_provenance
from fqi.datasets.formats.found_spaces import cast, found_space, made
from fqi.datasets.formats.glance import Glance
from fqi.datasets.formats.mapping import Mapping
from fqi.datasets.formats.ordering import ordered, taken
from fqi.datasets.formats.sheet import Sheet, few
from fqi.errors import UserError
from fqi.nest import Array

_KINDS: dict[str, Kind] = {
    "episode": "word",
    "behaviour": "word",
    "action": "either",
    "label": "either",
    "mask": "list",
    "next_mask": "list",
}
_OUTLINING = (
    "episode",
    "step",
    "termination",
    "truncation",
    "done",
    "is_first",
    "is_last",
    "next_observation",
    "seed",
    "origin",
)
_SAME = 1e-5  # relative: a table may have been written with fewer digits in one of two columns


class NoStepError(UserError):
    """Rows of which none is a step."""


def wanted(mapping: Mapping) -> dict[str, Kind]:
    """The columns to read, and what each of them holds."""
    kinds: dict[str, Kind] = {name: _KINDS.get(role, "number") for name, role in mapping.used().items()}
    if mapping.options.actions:  # what has names is words, though it may look like a number
        for role in ("action", "label"):
            kinds |= dict.fromkeys(mapping.columns(role).get("", ()), "word")
    return kinds


def outlining(mapping: Mapping) -> dict[str, Kind]:
    """The columns that tell how long episodes are, how they end and where they come from."""
    return {name: kind for name, kind in wanted(mapping).items() if mapping.used()[name] in _OUTLINING}


def states_all(mapping: Mapping) -> bool:
    """Whether nothing must be guessed from all rows, so that some of them can be read without the others.

    Words of actions may still have to be: see `unnamed`.
    """
    options, said = mapping.options, mapping.said
    spaces_known = options.environment is not None or {"observation_space", "action_space"} <= set(said)
    acted = options.behaviour is None or "behaviours" in said
    legal = options.mask is None or (options.mask_means is not None and options.next_mask is not None)
    return spaces_known and options.episode is not None and acted and legal and "provenance" in said


def unnamed(table: Table, mapping: Mapping) -> bool:
    """Whether actions are words of which only all rows tell how many there are."""
    names = (*mapping.columns("action").get("", ()), *mapping.columns("label").get("", ()))
    return mapping.options.actions is None and any(table.cells[name].words is not None for name in names)


def columns_of_table(table: Table, mapping: Mapping, reference: str) -> Columns:
    """The columns of a log, unchecked, and a head that says what was made of the table."""
    return _reader(table, mapping, reference).columns()


def outline_of_table(
    table: Table, mapping: Mapping, reference: str
) -> tuple[dict[str, Array], dict[str, int], dict[str, Any]] | None:
    """The columns per episode, what is to be noted and the provenance that is stated; None where order is missing."""
    return _reader(table, mapping, reference).outline()


def glance_of_table(table: Table, mapping: Mapping, reference: str) -> Glance:
    """What these rows show of what the mapping leaves open."""
    return _reader(table, mapping, reference).glance()


def _reader(table: Table, mapping: Mapping, reference: str) -> _Reader:
    if not table.rows:
        raise UserError(f"{table.source}: expected at least one row, found none below the header")
    sheet = Sheet(table, mapping, reference)
    sheet.refuse_blanks()
    return _Reader(sheet)


class _Reader:
    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.rows = ordered(sheet)
        self._ends = ends(sheet, self.rows)
        self._lengths = self.rows.lengths - self._ends.final  # [M] steps
        self._some = self._lengths > 0  # [M]
        sheet.note("episodes without a step, left out", np.count_nonzero(~self._some))

    def outline(self) -> tuple[dict[str, Array], dict[str, int], dict[str, Any]] | None:
        if (np.diff(self.rows.order) < 0).any():
            return None
        arrays = {"lengths": self._lengths[self._some].astype(np.int64)}
        self._per_whole_episode(arrays)
        notes = {what: count for what, count in self.sheet.notes.items() if count}
        return arrays, notes, self.sheet.said("provenance", dict) or {}

    def glance(self) -> Glance:
        if not self._some.any():
            return Glance(self.rows.ids, self._some)
        self._find()
        chosen = choices(self.sheet, self.rows, self._steps)
        extents = {} if chosen.names is not None else chosen.extents()
        behaviours = frozenset() if self.sheet.options.behaviour is None else frozenset(self._behaviours()[1])
        observed = self._extents(self._observations())
        return Glance(self.rows.ids, self._some, observed, extents, chosen.blank, chosen.names, behaviours)

    def columns(self) -> Columns:
        finish, some = self._ends, self._some
        if not some.any():
            raise NoStepError(f"{self.sheet.source}: expected at least one step, found only final frames")
        self._find()
        arrays = self._observations()
        chosen = choices(self.sheet, self.rows, self._steps)
        arrays["actions"] = chosen.values["action"]
        if "label" in chosen.values:
            arrays["label"] = chosen.values["label"]
        reward = self.sheet.single("reward")
        arrays["rewards"] = taken(self.sheet, self.rows, reward, self._steps).astype(
            reward.values.dtype if reward.values.dtype.kind == "f" else np.float64
        )
        lengths = self._lengths[some].astype(np.int64)
        last = np.cumsum(lengths) - 1
        for name, flags in (("terminations", finish.termination), ("truncations", finish.truncation)):
            arrays[name] = np.zeros(len(self._steps), np.bool_)
            arrays[name][last] = flags[some]
        arrays["lengths"] = lengths
        head = self._head(arrays, chosen)
        behaviours = self._optional(arrays, head.action_space, chosen.names)
        self._per_whole_episode(arrays)
        head = Head(
            head.observation_space, head.action_space, behaviours, head.environment, self._provenance(chosen.names)
        )
        cast(self.sheet, arrays, head)
        for name, dtype in (self.sheet.said("dtypes", dict) or {}).items():
            if name in arrays and dtype in ("float32", "float64"):
                arrays[name] = arrays[name].astype(dtype)
        return Columns(self.sheet.reference, head, arrays)

    def _find(self) -> None:
        """Where steps and frames stand."""
        keep = np.ones(self.sheet.table.rows, np.bool_)
        keep[self.rows.lasts[self._ends.final]] = False
        self._steps = np.flatnonzero(keep)  # positions of the rows that are steps
        self._frames = self._frame_sources(self._ends, self._some)

    def _frame_sources(self, ends: Ends, some: Array) -> tuple[Array, Array]:
        """[F] the position of the row that each frame comes from, and whether it is that row's next observation."""
        counts = self.rows.lengths + ~ends.final  # [M] frames
        position = np.repeat(self.rows.starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        over = np.cumsum(counts) - 1  # [M] each episode's final frame
        position[over] = self.rows.lasts
        following = np.zeros(len(position), np.bool_)
        following[over] = ends.given & ~ends.final
        keep = np.repeat(some, counts)
        return position[keep], following[keep]

    def _observations(self) -> dict[str, Array]:
        nest, following = self.sheet.mapping.columns("observation"), self.sheet.mapping.columns("next_observation")
        position, is_next = self._frames
        found: dict[str, Array] = {}
        for path, names in nest.items():
            values = self.sheet.joined(names)
            frames = values[self.rows.order[position]]
            if following:
                ahead = self.sheet.joined(following[path], like=values)
                self._check_following(values, ahead, following[path][0])
                frames = frames.astype(np.result_type(values, ahead), copy=False)
                frames[is_next] = ahead[self.rows.order[position[is_next]]]
            found[leaf_name(path)] = frames
        return found

    def _check_following(self, values: Array, ahead: Array, name: str) -> None:
        """The next observation of a row is the observation of the row that follows."""
        order, there = self.rows.order, self.sheet.next_present()[self.rows.order]
        pairs = there.copy()
        pairs[self.rows.lasts] = False
        at = np.flatnonzero(pairs)
        mine, theirs = ahead[order[at]].astype(np.float64), values[order[at + 1]].astype(np.float64)
        wrong = ~np.isclose(mine, theirs, rtol=_SAME, atol=1e-8, equal_nan=True)
        wrong = np.asarray(wrong.any(axis=tuple(range(1, wrong.ndim))))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            row, following = self.rows.row(int(at[first])), self.rows.row(int(at[first]) + 1)
            expected = f"the observation of the following row ({following}), {few(theirs[first])}"
            raise self.sheet.fault(name, expected, few(mine[first]), row)

    def _optional(
        self, arrays: dict[str, Array], space: gym.Space[Any], names: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        behaviours: tuple[str, ...] = ()
        if self.sheet.options.propensity is not None:
            values = taken(self.sheet, self.rows, self.sheet.single("propensity"), self._steps)
            arrays["propensity"] = values if values.dtype.kind == "f" else values.astype(np.float64)
        if self.sheet.options.behaviour is not None:
            codes, used = self._behaviours()
            words = self.sheet.single("behaviour").words or ()
            behaviours = tuple(self.sheet.said("behaviours", list) or sorted(used))
            unknown = used - set(behaviours)
            if unknown:
                raise self.sheet.fault(self.sheet.options.behaviour, f"one of {behaviours}", repr(min(unknown)))
            place = {name: i for i, name in enumerate(behaviours)}
            arrays["behaviour"] = np.array([place.get(word, -1) for word in words], np.int32)[codes]
        if self.sheet.options.mask is not None:
            arrays["action_mask"] = mask(self.sheet, self.rows, self._frames, space, names)
        return behaviours

    def _behaviours(self) -> tuple[Array, set[str]]:
        """Of each step the number of a word, and the words in use."""
        cells = self.sheet.single("behaviour")
        codes, words = taken(self.sheet, self.rows, cells, self._steps), cells.words or ()
        return codes, {words[code] for code in np.unique(codes).tolist()}

    def _per_whole_episode(self, arrays: dict[str, Array]) -> None:
        some = self._some
        if self.sheet.options.seed is not None:
            arrays["seeds"] = self._per_episode(self.sheet.options.seed)[some]
        if "origin" in self.sheet.mapping.several:
            arrays["origin"] = np.stack(
                [self._per_episode(name)[some] for name in self.sheet.mapping.columns("origin")[""]], axis=1
            )
        elif self.sheet.options.episode is not None and "provenance" not in self.sheet.mapping.said:
            arrays["origin"] = found_origin(self.rows.ids, some)

    def _per_episode(self, name: str) -> Array:
        values = self.sheet.table.cells[name].values
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise self.sheet.fault(name, "whole numbers", values.dtype)
        values = values[self.rows.order].astype(np.int64)
        same = values == np.repeat(values[self.rows.starts], self.rows.lengths)
        if not same.all():
            row = self.rows.row(int(np.flatnonzero(~same)[0]))
            raise UserError(
                f"{self.sheet.source}: row {row}: column {name}: expected one value in all rows of an episode"
            )
        return np.asarray(values[self.rows.starts])

    def _head(self, arrays: dict[str, Array], chosen: Choices) -> Head:
        observation_space = self._said_space("observation_space")
        stated_actions = self._said_space("action_space")
        record = self.sheet.said("record", dict)
        if self.sheet.options.environment is not None:
            record, made_observation, made_actions = made(self.sheet.options.environment, self.sheet.source)
            observation_space, stated_actions = observation_space or made_observation, stated_actions or made_actions
        names = chosen.names
        if stated_actions is not None and names is not None:
            if not isinstance(stated_actions, gym.spaces.Discrete) or int(stated_actions.n) < len(names):
                raise UserError(f"{self.sheet.source}: expected actions of {stated_actions}, found the names {names}")
            for name in ("actions", "label"):
                if name in arrays:
                    arrays[name] += int(stated_actions.start)
        if observation_space is None:
            observation_space = found_space(self._extents(arrays))
        if stated_actions is None:
            stated_actions = (
                space_of(self.sheet, chosen.extents(), chosen.blank)
                if names is None
                else gym.spaces.Discrete(len(names))
            )
        return Head(observation_space, stated_actions, (), record)

    def _extents(self, arrays: dict[str, Array]) -> dict[str, Extent]:
        """Of each leaf of the observations; the space of quantities does not depend on how large they are."""
        found = {path: arrays[leaf_name(path)] for path in self.sheet.mapping.columns("observation")}
        return {path: Extent.of(leaf if leaf.dtype.kind in "iu" else leaf[:1]) for path, leaf in found.items()}

    def _said_space(self, name: str) -> gym.Space[Any] | None:
        text = self.sheet.said(name, dict)
        try:
            return None if text is None else spaces.from_json(text)
        except UserError as error:
            raise UserError(f"{self.sheet.mapping.where}: {name}: {error}") from error

    def _provenance(self, names: tuple[str, ...] | None) -> dict[str, Any]:
        sheet = self.sheet
        said = sheet.said("provenance", dict)
        if said is None:
            said = found_provenance(sheet.mapping, sheet.reference, sheet.table, names, self.rows.ids, self._some)
        notes = {what: count for what, count in sheet.notes.items() if count}
        return {**said, **({"notes": notes} if notes else {})}

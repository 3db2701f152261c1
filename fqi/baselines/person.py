"""An expert at the keyboard: shown what the environment renders, asked for the action."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from fqi.environments.make import make_single
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.files import write_bytes
from fqi.nest import Array, Nest, leaves, rows, take
from fqi.policies import Policy, one_hot
from fqi.slots import Slots

View: TypeAlias = "Array | str"  # pixels [H, W, 3] uint8, or text


class Person(Policy):
    """Whoever sits at the keyboard. Each frame is shown and answered by itself; an empty line repeats the last answer.

    `render` gives what the environment looks like now; without it the numbers of the frame are shown. Pixels go to the
    file `picture`, which is replaced each time, so that an image viewer follows; text goes to `write`.
    """

    def __init__(
        self,
        action_space: gym.Space[Any],
        *,
        render: Callable[[], View] | None = None,
        picture: Path | None = None,
        read: Callable[[str], str] = input,
        write: Callable[[str], Any] = print,
    ) -> None:
        if not isinstance(action_space, gym.spaces.Discrete | gym.spaces.Box):
            raise UserError(f"a person can be asked for Discrete actions or for numbers, not for {action_space}")
        self.action_space, self.render, self.picture, self.read, self.write = action_space, render, picture, read, write
        self.last: Array | None = None  # [K] the numbers last typed
        self.asked = 0

    def probabilities(self, frames: Nest) -> Array:
        space = self.action_space
        if not isinstance(space, gym.spaces.Discrete):
            raise UserError(f"probabilities need a Discrete action space, found {space}")
        index = [int(self._answer(take(frames, slice(i, i + 1)))[0] - space.start) for i in range(rows(frames))]
        return one_hot(np.array(index, np.int64), int(space.n))

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        answers = np.stack([self._answer(take(frames, slice(i, i + 1))) for i in range(rows(frames))])
        return answers.reshape(-1, *(self.action_space.shape or ())).astype(self.action_space.dtype)

    def _answer(self, frame: Nest) -> Array:
        """[K] numbers that are an action."""
        self._show(frame)
        self.asked += 1
        while True:
            try:
                typed = self.read(f"{self.asked}: {self._question()} ").split()
            except EOFError:
                raise UserError(f"the person stopped answering at question {self.asked}") from None
            if not typed and self.last is not None:
                return self.last
            try:
                answer = np.array([float(word) for word in typed])
            except ValueError:
                answer = np.zeros(0)
            if self._fits(answer):
                self.last = answer
                return answer
            self.write(f"expected {self._question().removesuffix('?')}, found {' '.join(typed) or 'nothing'!r}")

    def _question(self) -> str:
        space = self.action_space
        if isinstance(space, gym.spaces.Discrete):
            return f"an action from {space.start} to {space.start + space.n - 1}?"
        assert isinstance(space, gym.spaces.Box)
        return f"{space.low.size} number{'s' * (space.low.size > 1)} from {space.low.ravel()} to {space.high.ravel()}?"

    def _fits(self, answer: Array) -> bool:
        space = self.action_space
        if isinstance(space, gym.spaces.Discrete):
            whole = len(answer) == 1 and float(answer[0]).is_integer()
            return whole and bool(space.start <= answer[0] < space.start + space.n)
        assert isinstance(space, gym.spaces.Box)
        if len(answer) != space.low.size:
            return False
        return bool(((answer >= space.low.ravel()) & (answer <= space.high.ravel())).all())

    def _show(self, frame: Nest) -> None:
        view = self.render() if self.render else None
        if isinstance(view, str):
            self.write(view)
        elif view is not None and self.picture is not None:
            write_bytes(self.picture, png(view))
        else:
            for path, array in leaves(frame).items():
                self.write(f"{path + ' ' if path else ''}{array[0]}")


def png(pixels: Array) -> bytes:
    """The pixels [H, W, 3] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def watched(environment: dict[str, Any], trusted: bool = False) -> tuple[Slots, Callable[[], View]]:
    """One environment of this record that renders, and what it looks like now: text where it offers that, else pixels.

    It is for one seed: nobody can look at several at once.
    """
    plain = make_single(environment, trusted)
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    mode = next((mode for mode in ("ansi", "rgb_array") if mode in modes), None)
    if mode is None:
        raise UserError(f"{environment['id']} renders neither text nor pixels, so that a person cannot see it")
    record = {**environment, "kwargs": {**(environment.get("kwargs") or {}), "render_mode": mode}}
    made = list[gym.Env[Any, Any]]()

    def make() -> gym.Env[Any, Any]:
        made.append(make_single(record, trusted))
        return made[-1]

    slots = SingleSlots(1, make)

    def view() -> View:
        try:
            shown: Any = made[-1].render()
        except gym.error.DependencyNotInstalled as error:
            raise UserError(f"{environment['id']} cannot be rendered here: {error}") from error
        return shown if isinstance(shown, str) else np.asarray(shown)

    return slots, view

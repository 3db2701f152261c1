"""Films: what is filmed, and that the files are what they say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fqi.errors import UserError
from fqi.policies import Uniform
from fqi.reports.films.files import animated, save, strip
from fqi.reports.films.play import film
from fqi.reports.films.record import extremes

PICTURES = [np.full((20, 40, 3), shade, np.uint8) for shade in range(0, 200, 10)]


def test_files_of_every_kind(tmp_path):
    for kind in (".webp", ".gif", ".png"):
        save(tmp_path / f"film{kind}", PICTURES)
        with Image.open(tmp_path / f"film{kind}") as image:
            assert (getattr(image, "n_frames", 1) > 1) == (kind != ".png")
    with pytest.raises(UserError, match=r"expected a file that ends in \.webp, \.gif, \.png or \.mp4"):
        save(tmp_path / "film.avi", PICTURES)


def test_a_movie_needs_no_more_than_the_extra(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    save(tmp_path / "film.mp4", PICTURES)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_long_films_are_thinned_and_take_as_long():
    with Image.open(io.BytesIO(animated(PICTURES * 20, most=10))) as image:
        assert image.n_frames <= 10
    with Image.open(io.BytesIO(strip(PICTURES, "PNG"))) as image:
        assert image.size == (8 * 40 + 7 * 4, 20)


def test_the_best_and_the_worst_episode():
    rows = [
        {"member": m, "returns": r, "lengths": [1, 2], "predicted": [0, 0], "discounted": [0, 0]}
        for m, r in enumerate(([5.0, 1.0], [7.0, 3.0]))
    ]
    assert [(e["kind"], e["member"], e["episode"]) for e in extremes(rows)] == [("best", 1, 0), ("worst", 0, 1)]
    rows[0]["returns"] = rows[1]["returns"] = [4.0, 4.0]
    assert [e["kind"] for e in extremes(rows)] == ["best"]


def test_the_car_is_sketched_and_hidden_worlds_are_refused():
    environment = {"id": "fqi/CarOnTheHill-v0", "kwargs": {}}
    import gymnasium as gym

    played = film(environment, Uniform(gym.spaces.Discrete(2)), seed=0, limit=5)
    assert len(played.pictures) == 6
    assert played.pictures[0].shape == (160, 320, 3)
    assert (played.pictures[0] != played.pictures[5]).any()
    with pytest.raises(UserError, match="draws no pictures of itself"):
        film({"id": "fqi/Corridor-v0", "kwargs": {}}, Uniform(gym.spaces.Discrete(6)), seed=0, limit=5)

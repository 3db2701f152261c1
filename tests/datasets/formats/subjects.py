"""One sound, small example of every format for the tests that break it."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fqi.datasets.load import save_log
from tests.datasets.formats import test_d4rl, test_dqn_replay, test_foreign, test_npz, test_table
from tests.datasets.helpers import small_log

FILES = Path(__file__).parent / "files"


def _saved(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        save_log(small_log(), name.format(folder))
        return name.format(folder).partition(":")[2] if ":" in name else name.format(folder)

    return make


def _copied(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        return str(shutil.copy(FILES / name, folder / name))

    return make


def _minari(folder: Path) -> str:
    import os

    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        save_log(small_log(), "minari:fqi/log-v0")
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
    return str(folder / "fqi/log-v0")


def _old_d4rl(folder: Path) -> str:
    arrays = test_d4rl.six(**{"infos/action_log_probs": np.full(6, -1.0), "next_observations": test_d4rl.NEXT})
    return f"d4rl:{test_d4rl.save(folder / 'old.hdf5', arrays)}?max_episode_steps=3"


def _version_1(folder: Path) -> str:
    arrays = test_d4rl.six(timeouts=None, episode_terminals=np.array([0, 1, 0, 0, 1, 0]))
    return f"d3rlpy:{test_d4rl.save(folder / 'v1.h5', arrays)}"


def _foreign(folder: Path) -> str:
    return test_foreign.save(folder, test_foreign.MAPPING + test_foreign.FLAGS)


def _text(name: str, text: str) -> Callable[[Path], str]:
    """A table of others: its text, packed as its name says."""

    def make(folder: Path) -> str:
        packed = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
        (folder / name).write_bytes(packed(text.encode()))
        return str(folder / name)

    return make


def _steps() -> str:
    """RLDS's steps as JSON, one a line."""
    header, *rows = (line.split(",") for line in test_table.RLDS.splitlines())
    steps = [{k: json.loads(v or "null") for k, v in zip(header, row, strict=True)} for row in rows]
    return "\n".join(map(json.dumps, steps)) + "\n"


_EPISODES = (
    '{"observations": [[1.0, 2], [2.0, 3], [3.0, 4]], "actions": [1, 0], "rewards": [0.5, 1.5], "terminated": true}\n'
    '{"observations": [[4.0, 5], [5.0, 6]], "actions": [1], "rewards": [2.5], "terminated": false}\n'
)
_REAGENT = (
    "ds,mdp_id,sequence_number,state_features,action,reward,possible_actions,action_probability\n"
    '2020-01-01,e1,2,"{""1"": 0.5, ""0"": 1.5}",right,2.0,"[""left"", ""right""]",0.5\n'
    '2020-01-01,e1,1,"{""0"": 1.0, ""1"": 0.0}",left,1.0,"[""left"", ""up""]",0.25\n'
    '2020-01-01,e2,1,"{""0"": 1.0, ""1"": 2.0}",up,1.0,"[""left"", ""up""]",0.25\n'
)

# A name, and what makes the example in a folder and returns the reference that names it. All of the folder is broken.
SUBJECTS: dict[str, Callable[[Path], str]] = {
    "own": _saved("{}/log.h5"),
    "minari": _minari,
    "d4rl": _saved("d4rl:{}/log.hdf5"),
    "d4rl of others": _old_d4rl,
    "d3rlpy": _copied("d3rlpy_discrete.h5"),
    "d3rlpy of ours": _saved("d3rlpy:{}/log.h5"),
    "d3rlpy 1": _version_1,
    "npz trajectories": _copied("imitation_trajectories.npz"),
    "npz transitions": _copied("imitation_transitions.npz"),
    "npz baselines": lambda folder: str(test_npz.save(folder / "expert.npz", test_npz.baselines())),
    "dqn-replay": lambda folder: f"dqn-replay:{test_dqn_replay.save(folder, turn=4)}",
    "hdf5": _foreign,
    "csv": _saved("{}/log.csv"),
    "csv packed": _saved("{}/log.csv.gz"),
    "parquet": _saved("{}/log.parquet"),
    "rlds csv": _text("steps.csv", test_table.RLDS),
    "reagent csv": _text("reagent.csv", _REAGENT),
    "json lines": _text("steps.jsonl", _steps()),
    "json lines gz": _text("steps.jsonl.gz", _steps()),
    "json lines bz2": _text("episodes.jsonl.bz2", _EPISODES),
}

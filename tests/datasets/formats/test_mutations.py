"""Every reader, given files broken in a hundred ways: a log, or one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fqi.datasets.check import check
from fqi.datasets.load import load_log
from tests.datasets.formats.mutate import mutate
from tests.datasets.formats.subjects import SUBJECTS
from tests.datasets.helpers import read_or_sentence

MUTATIONS = 100


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_broken_file_is_a_log_or_a_sentence(subject: str, tmp_path: Path) -> None:
    sound, folder = tmp_path / "sound", tmp_path / "broken"
    sound.mkdir()
    reference = SUBJECTS[subject](sound).replace(str(sound), str(folder))
    refused = 0
    for seed in range(MUTATIONS):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        mutate(folder, np.random.default_rng(seed))
        refused += read_or_sentence(lambda: load_log(reference)) is None
        if seed % 10 == 0:
            check(reference)
    assert refused > MUTATIONS // 4  # or the mutations would break nothing

"""The registry of regressors: one line each. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Regressor:
    """What is known of a regressor before it is built."""

    module: str  # where its class is
    class_name: str
    settings_name: str  # in fqi.qfunctions.settings
    ensemble: int = 1  # heads of a member unless told otherwise
    holdout: float = 0.0  # share of rows held out unless told otherwise
    constraint: float = 0.0  # to what a behaviour does that is not random, unless told otherwise
    deterministic: bool = False  # the same rows give the same fit whatever the seed
    workers: bool = False  # can share its heads out among processes
    continuous: str = ""  # module:class that regresses on continuous actions; none where that cannot be done
    sweeps: bool = False  # heads may differ in the options that are marked so, and in the rows that they draw
    streams: bool = False  # can train on frames that stay on disk

    @property
    def settings(self) -> type[Any]:
        kind: type[Any] = getattr(import_module("fqi.qfunctions.settings"), self.settings_name)
        return kind

    @property
    def build(self) -> type[Any]:
        kind: type[Any] = getattr(import_module(self.module), self.class_name)
        return kind

    @property
    def build_continuous(self) -> type[Any]:
        module, _, name = self.continuous.partition(":")
        kind: type[Any] = getattr(import_module(module), name)
        return kind


REGRESSORS = {
    "table": Regressor("fqi.qfunctions.table", "TableQ", "TableSettings", deterministic=True),
    "linear": Regressor("fqi.qfunctions.linear", "LinearQ", "LinearSettings"),
    "trees": Regressor("fqi.qfunctions.trees", "TreesQ", "TreesSettings"),
    "mlp": Regressor(
        "fqi.qfunctions.mlp",
        "Mlp",
        "MlpSettings",
        ensemble=5,
        holdout=0.05,
        constraint=0.5,
        workers=True,
        sweeps=True,
        streams=True,
        continuous="fqi.qfunctions.continuous:ContinuousMlp",
    ),
    "cnn": Regressor(
        "fqi.qfunctions.cnn",
        "Cnn",
        "CnnSettings",
        ensemble=2,
        holdout=0.05,
        workers=True,
        sweeps=True,
        streams=True,
    ),
    "unet": Regressor("fqi.qfunctions.unet", "Unet", "UnetSettings", holdout=0.05, workers=True, streams=True),
    "multimodal": Regressor(
        "fqi.qfunctions.multimodal",
        "Multimodal",
        "MultimodalSettings",
        ensemble=2,
        holdout=0.05,
        workers=True,
        streams=True,
    ),
    "own": Regressor("fqi.qfunctions.own", "Own", "OwnSettings", ensemble=2, holdout=0.05, workers=True, streams=True),
}

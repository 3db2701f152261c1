"""The options of each regressor. This module imports nothing heavy: the command line reads its help from here."""

from __future__ import annotations

from dataclasses import dataclass

from fqi.options import option

FEATURES = (
    "raw",
    "polynomial:DEGREE",
    "fourier:ORDER",
    "radial:COUNT:WIDTH",
    "tiles:TILINGS:BINS",
    "py:MODULE:CALLABLE",
)


@dataclass(frozen=True)
class TableSettings:
    """One number for every state-action pair; there is nothing to choose."""


@dataclass(frozen=True)
class LinearSettings:
    """What is regressed on, and how strongly the weights are held back."""

    features: str = option("radial:128:1", f"Features of an observation: {', '.join(FEATURES)}.")
    ridge: float = option(1e-3, "Penalty on squared weights, per row; the bias goes free.", above=0)


@dataclass(frozen=True)
class TreesSettings:
    """How forests are grown."""

    trees: int = option(50, "Trees in each forest.", low=1, high=10_000)
    leaf: int = option(1, "Rows that each leaf must hold at least.", low=1)
    split: int = option(2, "Rows that a node must hold to be split.", low=2)
    max_features: float = option(1.0, "Share of the features tried at each split.", above=0, high=1)
    per: str = option(
        "action", "One forest for each action, or one on (frame, action) pairs.", choices=("action", "pair")
    )
    directions: int = option(
        0,
        "Random directions across the standardised observation that may be split on as well, drawn for each head.",
        low=0,
    )
    regrow_every: int = option(
        1, "Grow new trees every so many rounds; in between only their leaves are fitted, which costs far less.", low=1
    )
    freeze_structure_after: int = option(
        0,
        "Rounds after which no new trees are grown and only leaves are fitted; 0: never. Early targets tell few states "
        "apart, so that trees frozen too early stay coarse.",
        low=0,
    )
    jobs: int = option(0, "Threads that grow and ask trees; 0 takes every core.", low=0)


@dataclass(frozen=True)
class Regression:
    """How a network is fitted to a round's targets: what all networks share."""

    updates: int = option(300, "Gradient steps in each round.", low=1)
    batch: int = option(256, "Rows in each gradient step.", low=1)
    lr: float = option(3e-3, "Learning rate at the start of each round.", above=0, high=1e30, sweep=True)
    schedule: str = option(
        "cosine", "How the learning rate falls within a round.", choices=("cosine", "linear", "constant"), sweep=True
    )
    loss: str = option("squared", "Regression loss.", choices=("huber", "squared"), sweep=True)
    huber: float = option(
        1.0,
        "Where Huber turns linear, in standard deviations of the targets.",
        above=0,
        only=("loss", "huber"),
        sweep=True,
    )
    clip: float = option(10.0, "Largest norm of a head's gradient, targets being standardised.", above=0, sweep=True)
    conservative: float = option(
        0.0,
        "Penalty on log sum exp Q - Q(logged action), in units of value (CQL): values of actions that the log does not "
        "take are pressed down; 0: none.",
        low=0,
        sweep=True,
    )
    start: str = option(
        "warm", "Begin each round at the last one's weights (warm) or at new ones (cold).", choices=("warm", "cold")
    )
    precision: str = option(
        "float32",
        "Arithmetic of the large products: float32; tf32, on NVIDIA's GPUs; bf16, slow where a processor has no "
        "units for it. Weights, targets and moments are float32.",
        choices=("float32", "tf32", "bf16"),
    )
    patience: int = option(
        0, "Stop a round after this many looks without a better held-out loss, and keep the best; 0: never.", low=0
    )
    checks: int = option(
        10, "Looks at the held-out loss in each round, when patience is given.", low=1, only=("patience", True)
    )

    @property
    def samples(self) -> int:
        """N, the numbers that stand for the return of each action."""
        return 1


@dataclass(frozen=True)
class MlpSettings(Regression):
    """A multilayer perceptron and the regression that fits it in each round."""

    loss: str = option(
        "squared",
        "Regression loss; quantile: the distribution of the return by its quantiles, whose mean is the value (QR).",
        choices=("huber", "squared", "quantile"),
        sweep=True,
    )
    huber: float = option(
        1.0,
        "Where Huber turns linear, and the loss of quantiles even, in standard deviations of the targets.",
        above=0,
        only=("loss", ("huber", "quantile")),
        sweep=True,
    )
    quantiles: int = option(16, "Quantiles of each action's return.", low=2, high=1024, only=("loss", "quantile"))

    width: int = option(64, "Units in each hidden layer.", low=1, high=65536, sweep=True)
    depth: int = option(2, "Hidden layers.", low=1, high=32)
    encoding: str = option(
        "outputs",
        "How Q stands for actions: one output for each; inputs beside the state's; or a network for each.",
        choices=("outputs", "inputs", "networks"),
    )
    dueling: bool = option(
        False, "Learn the value of a state and what each action is better by.", only=("encoding", "outputs")
    )
    layer_norm: bool = option(False, "Normalise what each hidden layer gets, row by row.", only=("encoding", "outputs"))
    embedding: int = option(
        0, "Numbers that stand for each category, learned; 0: one-hot columns.", low=0, high=4096,
        only=("encoding", "outputs"),
    )  # fmt: skip

    @property
    def samples(self) -> int:
        return self.quantiles if self.loss == "quantile" else 1


@dataclass(frozen=True)
class CnnSettings(Regression):
    """Convolutions chosen by the size of the image, a dense layer, and the regression that fits them in each round."""

    dense: int | None = option(
        None,
        "Units in the dense layer behind the convolutions. [default: 512 for images of 36 pixels a side, else 128]",
        low=1,
        high=65536,
    )
    shift: int = option(
        0,
        "Pixels by which images are moved at random, up to so many each way, while they are regressed on (DrQ).",
        low=0,
        high=64,
    )
    dueling: bool = option(False, "Learn the value of a state and what each action is better by.")
    lr: float = option(1e-3, "Learning rate at the start of each round.", above=0, high=1e30, sweep=True)
    batch: int = option(64, "Rows in each gradient step.", low=1)


@dataclass(frozen=True)
class UnetSettings(Regression):
    """A fully convolutional network with one output for each pixel, and the regression that fits it."""

    channels: int = option(
        16, "Channels of the finest maps; coarser ones have twice as many a level.", low=1, high=1024
    )
    levels: int = option(
        2, "Times that maps are halved and doubled again: how far around it a pixel looks.", low=1, high=8
    )
    rotations: int = option(1, "Directions in which to act at each pixel.", low=1, high=64)
    turn: float = option(
        0.0,
        "Full turns over which rotations are spread, 0.5 for a gripper of two like fingers: the image is turned for "
        "each and one map values all; 0: a map of its own for each rotation, in one pass.",
        low=0,
        high=1,
    )
    lr: float = option(1e-3, "Learning rate at the start of each round.", above=0, high=1e30)
    batch: int = option(64, "Rows in each gradient step.", low=1)


@dataclass(frozen=True)
class MultimodalSettings(Regression):
    """An encoder for each part of a named observation, dense layers behind them, and the regression that fits them."""

    width: int = option(64, "Units in each hidden layer.", low=1, high=65536)
    depth: int = option(2, "Hidden layers.", low=1, high=32)
    encoder: int = option(64, "Numbers that each image, and all vectors together, are encoded as.", low=1, high=65536)
    embedding: int = option(8, "Numbers that stand for each category, learned.", low=1, high=4096)
    dueling: bool = option(False, "Learn the value of a state and what each action is better by.")
    layer_norm: bool = option(False, "Normalise what each hidden layer gets, row by row.")
    lr: float = option(1e-3, "Learning rate at the start of each round.", above=0, high=1e30)
    batch: int = option(64, "Rows in each gradient step.", low=1)


@dataclass(frozen=True)
class OwnSettings(Regression):
    """Your own network, and the regression that fits it in each round."""

    network: str | None = option(
        None, "py:MODULE:CALLABLE, called with the observation space and the number of outputs. [default: none]"
    )
    lr: float = option(1e-3, "Learning rate at the start of each round.", above=0, high=1e30)
    batch: int = option(64, "Rows in each gradient step.", low=1)

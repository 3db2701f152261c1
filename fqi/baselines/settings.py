"""The options of each baseline. This module imports nothing heavy: the command line reads its help from here."""

from __future__ import annotations

from dataclasses import dataclass

from fqi.options import option


@dataclass(frozen=True)
class LikelihoodSettings:
    """Fitting a policy to actions by maximum likelihood: what cloning and DAgger share."""

    width: int | None = option(
        None,
        "Units in each hidden layer, for images those after the convolutions. [default: 64; 512 for images]",
        low=1,
        high=65536,
    )
    depth: int | None = option(
        None,
        "Hidden layers, for images those after the convolutions. [default: 2; 1 for images]",
        low=1,
        high=32,
    )
    batch: int = option(256, "Rows in each gradient step, rounded up to a multiple of 32.", low=1)
    lr: float = option(3e-3, "Learning rate at the start of a fit.", above=0, high=1e30)
    schedule: str = option(
        "cosine", "How the learning rate falls within a fit.", choices=("cosine", "linear", "constant")
    )
    clip: float = option(10.0, "Largest norm of a network's gradient.", above=0)
    head: str | None = option(
        None,
        "What is learned of continuous actions: a Gaussian's mean and spread, or the mean alone by squared error. "
        "[default: mean]",
        choices=("gaussian", "mean"),
    )
    act: str = option(
        "greedy",
        "Take the most likely action (of a Gaussian: its mean), or draw one. The clone of a mixture is often better "
        "than the mixture by its most likely action, and about as good when it draws.",
        choices=("greedy", "sample"),
    )


@dataclass(frozen=True)
class CloneSettings(LikelihoodSettings):
    """Behaviour cloning."""

    updates: int = option(6000, "Gradient steps at most.", low=1)
    imitate: str = option(
        "auto",
        "Learn the actions that were taken, or the labels that an expert gave; auto: labels where the log has them.",
        choices=("auto", "actions", "labels"),
    )
    best: float = option(100.0, "Percent of the episodes to clone, those of the highest returns.", above=0, high=100)
    holdout: float = option(0.1, "Share of the episodes kept out of the fit, drawn for each seed.", low=0, high=0.9)
    patience: int = option(
        10, "Stop after this many looks without a better held-out loss, and keep the best; 0: never.", low=0
    )
    look_every: int = option(
        100, "Gradient steps from one look at the held-out loss to the next.", low=1, only=("patience", True)
    )


@dataclass(frozen=True)
class DaggerSettings(LikelihoodSettings):
    """DAgger: the learner acts, the expert says what it would have done, and all of it is learned."""

    iterations: int = option(10, "Times that the learner acts and is fitted again.", low=1)
    steps: int = option(500, "Environment steps of each seed in each iteration.", low=1)
    updates: int = option(500, "Gradient steps of each fit.", low=1)
    beta: str = option(
        "first",
        "Probability that the expert acts, in each step: 1 in the first iteration and then 0 (first), 1 falling evenly "
        "to 0 in the last (linear), P to the power of the iterations done (power:P), or always 0 (none).",
    )
    start: str = option(
        "warm", "Begin each fit at the last one's weights (warm) or at new ones (cold).", choices=("warm", "cold")
    )


_REPLAYED = ("rung", ("v2", "v3"))
_TARGETED = ("rung", "v3")


@dataclass(frozen=True)
class DqnUpdates:
    """The gradient steps of deep Q-learning, which are the same online and on a log."""

    rung: str = option(
        "v3",
        "How much of the algorithm: v1 learns from each step at once, v2 from a replay buffer, v3 towards a target "
        "network as well.",
        choices=("v1", "v2", "v3"),
    )
    gamma: float = option(0.98, "Discount of a reward one step later.", low=0, high=1)
    n_step: int = option(3, "Rewards summed before the target bootstraps.", low=1)
    target_every: int = option(
        64, "Gradient steps after which the target network becomes a copy of the online one.", low=1, only=_TARGETED
    )
    double: bool = option(
        False, "The online network chooses the next action, the target network values it.", only=_TARGETED
    )
    replay: str = option(
        "uniform",
        "Rows are drawn alike, or in proportion to a power of their last error.",
        choices=("uniform", "proportional"),
        only=_REPLAYED,
    )
    alpha: float = option(
        0.6, "Power of the error in a row's priority; 0: all alike.", low=0, high=1, only=("replay", "proportional")
    )
    beta: float = option(
        0.4,
        "Power of the weights that undo the uneven drawing, at the start; it rises linearly to 1.",
        low=0,
        high=1,
        only=("replay", "proportional"),
    )
    batch: int = option(64, "Rows in each gradient step.", low=1, only=_REPLAYED)
    loss: str = option("squared", "Loss of the error.", choices=("huber", "squared"))
    huber: float = option(1.0, "Error at which Huber turns linear.", above=0, only=("loss", "huber"))
    lr: float = option(1e-3, "Learning rate at the start.", above=0, high=1e30)
    schedule: str = option("linear", "How the learning rate falls, in the end to 0.", choices=("linear", "constant"))
    clip: float = option(10.0, "Largest norm of a network's gradient.", above=0)
    width: int = option(64, "Units in each hidden layer.", low=1, high=65536)
    depth: int = option(2, "Hidden layers.", low=1, high=32)
    looks: int = option(10, "Evaluations of the greedy policy, spread over the training.", low=0)
    keep: str = option(
        "last",
        "The network to keep: the last, or the best that a look found, whose episodes then are experience, too.",
        choices=("last", "best"),
    )


@dataclass(frozen=True)
class DqnSettings(DqnUpdates):
    """Deep Q-learning online."""

    steps: int = option(50_000, "Environment steps of each seed.", low=1)
    warmup: int = option(
        1_000, "Uniformly random steps before learning starts; inputs are standardised by them.", low=1
    )
    capacity: int = option(100_000, "Steps that the replay buffer holds; the oldest make room.", low=1, only=_REPLAYED)
    every: int = option(256, "Environment steps from one learning to the next.", low=1, only=_REPLAYED)
    updates: int = option(128, "Gradient steps in each learning.", low=1, only=_REPLAYED)
    epsilon_start: float = option(1.0, "Probability of a random action after the warm-up.", low=0, high=1)
    epsilon_end: float = option(0.04, "Probability of a random action in the end.", low=0, high=1)
    epsilon_share: float = option(0.2, "Share of the steps over which it falls linearly.", low=0, high=1)
    exploration_repeat: int = option(
        1,
        "Steps for which a random action is kept at most, drawn evenly from 1; the share of random steps stays the "
        "same. Tasks that must be shaken for long need many: MountainCar 40.",
        low=1,
    )


@dataclass(frozen=True)
class OfflineDqnSettings(DqnUpdates):
    """The same updates on a log alone."""

    rung: str = option(
        "v3", "How much of the algorithm: v3 learns towards a target network, v2 does not.", choices=("v2", "v3")
    )
    updates: int = option(30_000, "Gradient steps.", low=1)

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

    updates: int = option(2000, "Gradient steps at most.", low=1)
    imitate: str = option(
        "auto",
        "Learn the actions that were taken, or the labels that an expert gave; auto: labels where the log has them.",
        choices=("auto", "actions", "labels"),
    )
    best: float = option(100.0, "Percent of the episodes to clone, those of the highest returns.", above=0, high=100)
    holdout: float = option(0.1, "Share of the episodes kept out of the fit, drawn for each seed.", low=0, high=0.9)
    patience: int = option(
        5, "Stop after this many looks without a better held-out loss, and keep the best; 0: never.", low=0
    )
    look_every: int = option(
        100, "Gradient steps from one look at the held-out loss to the next.", low=1, only=("patience", True)
    )


@dataclass(frozen=True)
class DaggerSettings(LikelihoodSettings):
    """DAgger: the learner acts, the expert says what it would have done, and all of it is learned."""

    iterations: int = option(10, "Times that the learner acts and is fitted again.", low=1)
    steps: int = option(1000, "Environment steps of each seed in each iteration.", low=1)
    updates: int = option(500, "Gradient steps of each fit.", low=1)
    beta: str = option(
        "first",
        "Probability that the expert acts, in each step: 1 in the first iteration and then 0 (first), 1 falling evenly "
        "to 0 in the last (linear), P to the power of the iterations done (power:P), or always 0 (none).",
    )
    start: str = option(
        "warm", "Begin each fit at the last one's weights (warm) or at new ones (cold).", choices=("warm", "cold")
    )

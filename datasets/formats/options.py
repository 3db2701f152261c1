"""What may be said of the columns of a table: the one home of these flags, and of the keys of a mapping."""

from __future__ import annotations

from dataclasses import dataclass

from fqi.options import option

_PREFIX = "one column, several (a,b,c), all that begin alike (obs*), or one of lists or JSON maps"


@dataclass(frozen=True)
class MappingOptions:
    """What may be said of a table, as flags; a TOML mapping knows the same names."""

    episode: str | None = option(
        None, "Column that tells episodes apart. [default: episodes end at the flags, in the order of the rows]"
    )
    step: str | None = option(
        None, "Column that orders the rows of an episode, in any order in the file. [default: the order of the rows]"
    )
    step_means: str = option(
        "number",
        "Whether steps are numbered without a gap, so that a missing row is found, or only put rows in order.",
        choices=("number", "order"),
    )
    observation: str | None = option(None, f"Observation: {_PREFIX}. [default: guessed]")
    next_observation: str | None = option(
        None, "Observation after the step, in the same form; checked against the following row. [default: none]"
    )
    action: str | None = option(None, f"Action: {_PREFIX}; texts become numbers. [default: guessed]")
    actions: str | None = option(None, "Names of the actions in order, a,b,c. [default: as sorted]")
    label: str | None = option(
        None, "Action that an expert would have taken there, in the form of the action. [default: none]"
    )
    reward: str | None = option(None, "Reward. [default: guessed]")
    termination: str | None = option(None, "True where the episode ended in a state of value 0. [default: guessed]")
    truncation: str | None = option(None, "True where the episode was cut. [default: guessed]")
    done: str | None = option(None, "A merged flag, which needs --done-means or --time-limit. [default: none]")
    done_means: str | None = option(
        None, "What the merged flag stands for. [default: refused]", choices=("termination", "truncation")
    )
    time_limit: int | None = option(
        None, "Episodes that end after exactly so many steps were cut, others terminated. [default: none]", low=1
    )
    ends: str | None = option(
        None,
        "What the last row of an episode is where no flag is set. [default: truncation]",
        choices=("termination", "truncation"),
    )
    is_first: str | None = option(None, "RLDS: True in the first row of an episode. [default: none]")
    is_last: str | None = option(
        None, "RLDS: True in the row that holds the final observation and no action. [default: none]"
    )
    propensity: str | None = option(None, "Probability with which the logged action was taken. [default: none]")
    mask: str | None = option(None, "Legal actions: flags, or a list of their names. [default: none]")
    next_mask: str | None = option(None, "Legal actions after the step, in the same form. [default: none]")
    mask_means: str | None = option(
        None,
        "Whether the lists of legal actions hold a flag an action, or actions. [default: told by the lists]",
        choices=("flags", "actions"),
    )
    behaviour: str | None = option(None, "Which policy acted, by name. [default: none]")
    seed: str | None = option(None, "Reset seed of the episode. [default: none]")
    origin: str | None = option(None, "Two columns that say where the episode came from. [default: none]")
    environment: str | None = option(
        None, "ID of the environment, whose spaces the log then has. [default: spaces as found]"
    )

"""How each number of a report was computed, in words for its readers."""

from __future__ import annotations

METHODS = [
    {
        "name": "Return",
        "text": "The undiscounted sum of an episode's rewards under the greedy policy of one member, up to the time "
        "limit. Every member and round plays from the same start states.",
    },
    {
        "name": "Realised value",
        "text": "The discounted sum of the same rewards. A time limit ends an episode but not the value that a "
        "Q-function predicts, so play goes on beyond the limit until what is left weighs less than a thousandth.",
    },
    {
        "name": "Predicted value",
        "text": "The value that a member gives to the start state before the episode is played, by the value rule it "
        "was trained with.",
    },
    {
        "name": "Bias",
        "text": "Predicted minus realised value, taken episode by episode, then averaged. Above zero is "
        "overestimation.",
    },
    {
        "name": "95 % intervals",
        "text": "With two members or more: Student's t over the means of the members; it covers how training with "
        "other seeds would differ on this log, for these start states. With one member: Student's t over its "
        "episodes; it covers other start states, and says nothing of other seeds. Success rates of one member: "
        "Wilson's interval. Differences between rounds are taken episode by episode. Intervals are for each round by "
        "itself; the best of many rounds is partly luck.",
    },
    {
        "name": "Earnable",
        "text": "The least and the most that any policy could earn, discounted, from the rewards seen in the log: the "
        "worst or best reward for ever, or one that ended an episode.",
    },
    {
        "name": "Metrics",
        "text": "Computed over the whole log after each round, as means over the heads of a member (highest and lowest "
        "Q: over them all). Bellman residual: root mean square of Q minus the target that it would give itself. "
        "Disagreement: standard deviation over the heads, mean over the log.",
    },
]  # fmt: skip

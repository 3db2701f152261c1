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
        "episodes, moved by their skewness (Johnson 1978); it covers other start states, and says nothing of other "
        "seeds. Success rates of one member: Wilson's interval. Differences between rounds are taken episode by "
        "episode. Intervals are for each round by itself; the best of many rounds is partly luck.",
    },
    {
        "name": "Earnable",
        "text": "The least and the most that any policy could earn, discounted, from the rewards seen in the log: the "
        "worst or best reward for ever, or one that ended an episode.",
    },
    {
        "name": "States of the log",
        "text": "Steps drawn from the log, every one equally likely. The environment is set to the state that a frame "
        "shows, and every member's greedy policy goes on from there; where the model is known the value is solved "
        "exactly instead. Intervals as above, over states in place of episodes. Slope: of the line realised against "
        "predicted.",
    },
    {
        "name": "Distance from the data",
        "text": "Standardised Euclidean distance from a state to the nearest one, of another episode, in which its "
        "greedy action was logged; at most 20,000 rows of each action are searched.",
    },
    {
        "name": "Parts of the bias",
        "text": "With a known model. Regressor: predicted minus what plain averages of the log's rows would predict, "
        "maximised, after as many rounds. Maximum: what their maximum adds over choices that were not made on the same "
        "noise. Luck: what those averages are off by for fixed choices. Missing: what pairs of state and action that "
        "the log lacks take away. Rounds: how far as many exact rounds stay behind the optimum. Policy: the optimum "
        "minus what the greedy policy earns. They add up to the bias.",
    },
    {
        "name": "Gap of the maximum",
        "text": "Each member (with one member: each head) chooses the action that it likes best, and the others value "
        "it; the gap is its own value minus theirs. What they share, such as the noise of one log, no gap can show. "
        "Gathered: the gap times the sum of the log's mean discount over the rounds, as if every backup added as much.",
    },
    {
        "name": "Unsupported actions",
        "text": "The greedy action was not logged in the state (discrete states), or in any of the ten logged states "
        "nearest to it.",
    },
    {
        "name": "Fitted Q-evaluation",
        "text": "The fold of training with V of the greedy policy's own action, for as many rounds, fitted to held-out "
        "episodes where the run held whole ones out (--holdout-by episodes), else to all. Its interval tells how "
        "first frames or members differ, not how good the fit is.",
    },
    {
        "name": "Metrics",
        "text": "Computed over the whole log after each round, as means over the heads of a member (highest and lowest "
        "Q: over them all). Bellman residual: root mean square of Q minus the target that it would give itself. "
        "Disagreement: standard deviation over the heads, mean over the log.",
    },
]  # fmt: skip

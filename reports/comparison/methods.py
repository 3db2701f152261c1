"""How each number of a comparison was computed, in words for its readers."""

from __future__ import annotations

METHODS = [
    {
        "name": "Score of a seed",
        "text": "The mean undiscounted return of its episodes, up to the time limit. Every learner and every seed "
        "plays from the same start states. The behaviour of the log is judged by its logged returns, from its "
        "own start states.",
    },
    {
        "name": "IQM",
        "text": "Interquartile mean: the mean of the scores of all seeds (and tasks) that is left when a quarter is "
        "cut off at each end, rounded down to whole scores (Agarwal et al. 2021). A single seed and a "
        "reference line stand for themselves: the mean of their episodes.",
    },
    {
        "name": "95 % intervals of the IQM and of aggregates",
        "text": "A bootstrap of 2,000 resamples that draws seeds anew within each task. Its plain percentiles cover "
        "89 % for one task of five seeds, so each end is the midpoint of a percentile further out and of "
        "Student's t with the bootstrap's standard error. In simulations with known truth this covers 93 to "
        "97 % from five seeds on, but on one task only 79 to 91 % with two or three. Where a learner fails "
        "outright with some seeds it covers less: 85 % for five seeds of which three in ten fail. What never "
        "fails in the seeds at hand cannot be seen: scores that are all equal give an interval without width. "
        "With one seed, and for reference lines, Student's t over episodes: it says nothing of other seeds.",
    },
    {
        "name": "Mean",
        "text": "The mean over seeds, with Student's t over the means of the seeds. For strongly skewed scores it "
        "covers clearly less than it says.",
    },
    {
        "name": "Probability of improvement",
        "text": "How likely a seed of the one scores higher than a seed of the other, a tie counting a half: the "
        "Mann-Whitney statistic as a share of all pairs, averaged over tasks. The interval is Newcombe's "
        "(method 5), which a bootstrap's would be far too narrow for: seeds that do not overlap are not "
        "certainty. Two learners are told apart where it lies on one side of 50 % and each has at least four "
        "seeds (three with several tasks). It counts who is ahead, not by how much. No correction is made for "
        "the number of pairs.",
    },
    {
        "name": "Normalised score",
        "text": "(score - low) / (high - low) with the two reference scores that stand beside the task. Aggregates "
        "over tasks are of normalised scores. Optimality gap: how far they fall short of 1, where more than 1 "
        "counts as 1.",
    },
    {
        "name": "Performance profile",
        "text": "The share of all runs with a score above each threshold; the bands are 95 % intervals of each point "
        "by itself.",
    },
    {
        "name": "Learning curves",
        "text": "The return while learning, from start states kept for looking on. Line and band: mean over seeds and "
        "Student's t, wherever every seed has a point.",
    },
    {
        "name": "Predicted and realised value",
        "text": "What a learner gives to the start states, and the discounted return that it then earned; the bias is "
        "taken episode by episode.",
    },
]  # fmt: skip

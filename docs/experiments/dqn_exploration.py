"""What repeated random actions are worth to DQN, by task and options; each seed is judged on 100 unseen start states.

python docs/experiments/dqn_exploration.py MountainCar-v0 3 exploration_repeat=16
python docs/experiments/dqn_exploration.py MountainCar-v0 4 exploration_repeat=40,epsilon_share=0.4,looks=4
"""

import sys
from dataclasses import fields

import numpy as np

from fqi.baselines.dqn import dqn
from fqi.baselines.settings import DqnSettings
from fqi.behaviour import Blocks, Component, Mixture
from fqi.environments.make import environment_record, make_slots
from fqi.options import parse
from fqi.rollout import play

LOOKS, STARTS = np.arange(20) + 777, np.arange(100) + 55_555  # reset seeds


def judge_of(environment, starts):
    """Returns [P, E] of policies."""

    def judge(policies):
        slots = make_slots(environment, len(policies) * len(starts))
        actors = [Mixture([Component(str(i), policy)], slots.action_space) for i, policy in enumerate(policies)]
        played = play(slots, Blocks(actors), np.tile(starts, len(policies)), environment["max_episode_steps"], 1.0)
        return played.returns.reshape(len(policies), -1)

    return judge


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    task, seeds, options = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    known = {field.name: field for field in fields(DqnSettings)}
    pairs = (part.split("=") for part in options.split(","))
    settings = DqnSettings(**{name: parse(known[name], value, options) for name, value in pairs})
    environment = environment_record(task)
    learned = dqn(
        environment, settings, range(100, 100 + seeds), environment["max_episode_steps"], judge_of(environment, LOOKS)
    )
    scores = judge_of(environment, STARTS)(learned.policies).mean(1)
    print(f"{task} {options}: mean {scores.mean():.1f}; seeds {np.round(scores, 1).tolist()}")
    for steps in sorted({row["steps"] for row in learned.curve}):
        print(f"  {steps} steps: {np.mean([row['return'] for row in learned.curve if row['steps'] == steps]):.1f}")


if __name__ == "__main__":
    main()

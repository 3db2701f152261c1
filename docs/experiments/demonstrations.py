"""Demonstrations of CartPole by its expert in the layout that imitation writes, as a third party would hand them over.

    python docs/experiments/demonstrations.py expert.npz
    fqi compare bc --log 'npz:expert.npz?env=CartPole-v1'

Gymnasium alone plays; nothing of fqi takes part but the expert's function. `infos` are Python objects, as in the files
of imitation itself: fqi never reads them.
"""

import argparse

import gymnasium as gym
import numpy as np

from fqi.scripted import cartpole


def episode(env, seed):
    """Frames [T + 1, 4], actions [T], rewards [T], and whether it ended by itself."""
    frames, actions, rewards = [env.reset(seed=seed)[0]], [], []
    while True:
        actions.append(int(cartpole(frames[-1][None])[0]))
        frame, reward, terminated, truncated, _ = env.step(actions[-1])
        frames.append(frame)
        rewards.append(reward)
        if terminated or truncated:
            return np.array(frames), np.array(actions), np.array(rewards), terminated


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--episodes", type=int, default=10)
    given = parser.parse_args()
    env = gym.make("CartPole-v1")
    frames, actions, rewards, terminal = zip(*(episode(env, seed) for seed in range(given.episodes)), strict=True)
    lengths = [len(of_episode) for of_episode in actions]
    np.savez_compressed(
        given.out,
        obs=np.concatenate(frames),
        acts=np.concatenate(actions),
        infos=np.array([{} for _ in range(sum(lengths))], dtype=object),
        terminal=np.array(terminal),
        indices=np.cumsum(lengths)[:-1],
        rews=np.concatenate(rewards),
    )
    print(f"{given.out}: {given.episodes} episodes, mean return {sum(map(sum, rewards)) / given.episodes:.1f}")


if __name__ == "__main__":
    main()

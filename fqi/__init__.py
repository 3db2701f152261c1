"""Offline reinforcement learning by fitted Q-iteration."""

__version__ = "0.1.0"

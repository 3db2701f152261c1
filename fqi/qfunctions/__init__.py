"""Q-functions: what is regressed on, behind one contract."""

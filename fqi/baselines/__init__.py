"""What fitted Q-iteration is compared with: behaviour cloning, DAgger and DQN."""

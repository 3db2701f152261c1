"""Populations of networks as tensor programs over flat parameters: forward, backward and the optimiser, written out."""

"""Learners side by side on the same tasks: what lies on disk, the numbers, the figures and the page."""

"""Evaluation, overestimation, statistics, figures and the page."""

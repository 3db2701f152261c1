"""Formats that others made."""

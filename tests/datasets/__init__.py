"""Tests of experience on disk."""

"""Pages about a log alone."""

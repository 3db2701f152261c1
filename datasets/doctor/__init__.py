"""The doctor's families of checks, one file each, and the measures of a log."""

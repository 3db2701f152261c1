"""Several trainings side by side: runs, or the settings of a sweep within one."""

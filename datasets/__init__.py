"""Experience on disk: collect, store, load, check, describe."""

"""Whether generated images help to train a classifier of real ones."""

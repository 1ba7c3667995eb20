"""The two training loops, their data and their state. `python -m mrigen.training` runs them without Ray."""

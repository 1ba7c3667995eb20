"""Generated images against held-out real ones: which are looked at, what is seen of each, and the figures of it."""

"""What each condition, the guidance and each number of steps contribute: generation is done again without it."""

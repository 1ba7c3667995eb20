"""Studies of a trained model that generate or train again: `ablation` and `usefulness`."""

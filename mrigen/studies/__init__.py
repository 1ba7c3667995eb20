"""Studies of a trained model: `ablation` generates again, `usefulness` trains again, `reader_study` asks readers."""

"""The stages of a run, one function each: `prepare_run`, `encode_run`, `generate_run`, `evaluate_run`, `audit_run`,
`ablate_run` and `usefulness_run` take a run folder, its configuration and an `Each`, and leave their result there.

Training, which has workers of its own kind, is `mrigen.training`."""

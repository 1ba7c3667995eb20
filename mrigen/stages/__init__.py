"""The stages of a run, one function each: `prepare_run`, `encode_run`, `evaluate_run`, `external_run`, `audit_run`,
`ablate_run` and `usefulness_run` take a run folder, its configuration and an `Each`, and leave their result there;
`phantom_run`, `generate_run`, `verify_run` and `repair_run` work on a folder of their own, and `build_study` and
`score_study` alone. `gates` says what samples are held to as they are made.

Training, which has workers of its own kind, is `mrigen.training`."""

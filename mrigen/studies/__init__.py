"""Studies that take a model apart: what it makes of cells it never saw (`extrapolation`), what each condition and
each solver step is good for (`ablation`), and whether its images help to train a classifier (`usefulness`).

`scored` holds images as features and answers, which the first two compare.
"""

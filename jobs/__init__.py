"""The command `mrigen`, and all that knows Ray.

cli.py finds a verb in verbs/. options.py has the options that verbs share, measuring.py what those share that measure a
run; showing.py, showing_data.py and progress.py print; health.py holds the checks of `mrigen doctor`. placement.py
joins or starts a Ray cluster, on which each_on_ray.py does the work of stages (Ray Data), train_workers.py trains
(Ray Train) and serve/ answers requests (Ray Serve).
"""

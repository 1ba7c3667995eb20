"""What stands behind `mrigen serve`; `jobs.serve:build_app` is the same application for Serve's config files.

application.py says what it can be told, and loads the model to tell its facts; reading.py reads a request's body and
refusals.py says what is wrong with it; api.py makes it an order; files.py makes the files that are answered;
batching.py fills compute batches across clients; app.py is the HTTP side, with page.html, whose viewer is in niivue/,
and docs.html; guard.py stands before it, with keys.py and meter.py; server.py, network.py and greeting.py serve the
command. None of these knows Ray. deployments.py puts the models on Ray Serve, and for config files a light front
before them. bulk/ takes jobs, which are whole data sets.
"""

from jobs.serve.application import build_app as build_app

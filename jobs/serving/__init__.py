"""What stands behind `mrigen serve`.

api.py reads a request and refuses what is wrong with it; files.py makes the files that are answered; batching.py
fills compute batches across clients; app.py is the HTTP side, with docs.html; network.py and greeting.py serve the
command. None of these knows Ray. deployments.py puts them on Ray Serve: a light front, and the models.
"""

"""What stands behind `mrigen serve`.

api.py reads a request and refuses what is wrong with it; files.py makes the files that are answered; batching.py
fills compute batches across clients; app.py is the HTTP side; these four know no Ray. deployments.py puts them on
Ray Serve: a light front and the replicas that hold the model.
"""

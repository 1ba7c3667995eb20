"""Jobs: whole data sets ordered over HTTP, at `/v1/jobs`.

body.py is what may be ordered, in the words of `mrigen generate`; store.py the queue on disk; runner.py has one job
after another done by job_process.py, a process that calls what `mrigen generate` calls; download.py packs what came
out; routes.py is the HTTP side.
"""

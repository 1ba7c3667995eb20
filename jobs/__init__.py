"""Ray jobs: one module a verb of the command `mrigen`. A job parses, places, wires and reports."""

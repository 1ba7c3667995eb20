"""The verbs of the command `mrigen`, a module each, in which `command` parses, places, calls a stage and reports."""

"""Errors that are no faults of ours: what the user gave, and what the user asked for."""


class InputError(ValueError):
    """Bad input. The message is one line that names the file or field, its value and the remedy.

    The commands print it and end with exit status 2; every other exception is a fault of ours
    and keeps its traceback.
    """


class Stopped(Exception):
    """The work was asked to stop, and lost nothing that matters: the same command goes on with it.

    The commands print the message and end with exit status 75 (EX_TEMPFAIL of sysexits.h: try again).
    """

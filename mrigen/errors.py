"""The one error that means: what the user gave is at fault, and this is how to mend it."""


class InputError(ValueError):
    """Bad input. The message is one line that names the file or field, its value and the remedy.

    The commands print it and end with exit status 2; every other exception is a fault of ours
    and keeps its traceback.
    """

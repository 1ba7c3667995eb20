"""Can readers tell generated images from real ones? What they are shown, what they answered, and what that says.

`design`: which images, in which order for which reader. `display`: their grey levels, in which nothing but anatomy
differs. `answers`: what readers send back. `readers`, `detection`, `agreement`, `power`: pure statistics, from arrays
to figures. `summary`: all of it, from answers to the result.
"""

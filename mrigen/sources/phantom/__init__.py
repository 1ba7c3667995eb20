"""The embedded phantom cohort: simulated brains, warped from a template and rendered by the signal equations.

Not people and not for medical use. `parameters` draws, `template`, `vessels` and `fields` hold what all share,
`anatomy` and `lesions` shape one brain, `signal` images it, `subject` puts it together.
"""

from __future__ import annotations

from mrigen.sources.phantom.subject import PhantomSubject, make_subject, pathology_of

__all__ = ["PhantomSubject", "make_subject", "pathology_of"]

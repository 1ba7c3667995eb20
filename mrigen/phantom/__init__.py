"""The embedded phantom cohort: simulated brains, warped from a template and rendered by the signal equations.

Not people and not for medical use. `sites` says where and of whom, `draw` and `draw_lesions` draw the `parameters`;
`template`, `vessels` and `fields` hold what all share; `anatomy`, `tumour` and `white_matter` shape one brain;
`segmentation` labels and measures it, `signal` images it, `subject` puts it together.
"""

from __future__ import annotations

from mrigen.phantom.segmentation import FIRST_LESION, LABELS, MEASURES
from mrigen.phantom.subject import PhantomSubject, make_subject

__all__ = ["FIRST_LESION", "LABELS", "MEASURES", "PhantomSubject", "make_subject"]

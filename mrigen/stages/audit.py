"""Auditing a run: are there copies of training images among its samples?"""

from __future__ import annotations

from mrigen.audit.nearest import decide_by_results, find_all
from mrigen.audit.pairing import plan_audit
from mrigen.config import Config
from mrigen.each import Each
from mrigen.images.index import index_generated, index_real
from mrigen.report.audit.page import audit_page, shown_pairs
from mrigen.report.audit.words import audit_json, audit_text, verdict
from mrigen.report.notices import model_notices, notices
from mrigen.report.provenance import comparison_facts
from mrigen.report.publish import Published, publish, result_folder
from mrigen.run import SUCCESS
from mrigen.storage import Location


def audit_run(
    run: Location,
    config: Config,
    each: Each,
    *,
    samples: Location | None = None,
    out: Location | None = None,
    split: str = "test",
    command: str = "",
) -> Published:
    """Compare every sample with the training and the held-out images of its cell, and decide whether there are copies.

    Writes `audit.json` and `index.html`, which shows training images, in `out` (RUN/audit). `samples` (RUN/samples) is
    a folder of `mrigen generate`, `split` that of the held-out images, `command` what the page says it came from. What
    is done lies in `.parts` there until all is: a killed audit goes on. Raises InputError for a run without images to
    compare.
    """
    samples, out = samples or run / "samples", result_folder(out or run / "audit", "audit.json")
    real, generated = index_real(run / "data", split), index_generated(samples)
    plan = plan_audit(real, generated, config)
    parts = out / ".parts" / plan.digest[:16]
    find_all(plan, range(len(plan.searches)), config, parts, each)
    audit = decide_by_results(plan, parts, config.audit)

    told = notices(real.provenance, complete=(samples / SUCCESS).is_file())
    told += model_notices(run / "model", generated.provenance, real.held_out_subjects)
    facts = comparison_facts(config, real.provenance, generated.provenance)
    facts |= {"Command": command} if command else {}
    page = audit_page(
        title=f"Audit of {run.name}",
        audit=audit,
        plan=plan,
        pairs=shown_pairs(audit, plan, parts),
        config=config,
        notices=told,
        facts=facts,
        split=split,
    )
    figures = audit_json(audit, plan, config, told, real.provenance, generated.provenance, split=split)
    words = audit_text(audit), verdict(audit)
    published = publish(out, page, "audit.json", figures, notices=told, words=words, failed=audit.failed)
    (out / ".parts").delete()
    return published

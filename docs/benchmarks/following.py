"""What tells that a scan shows the brain of its T1w, and not another's: the shared fine structure, and two starts.

    python docs/benchmarks/following.py T1W SCAN [SCAN ...] --strangers T1W [T1W ...]

T1W and SCANs are whole heads of one person, the strangers' T1w of others. Each SCAN is registered to each T1w, as
`mrigen.preprocess.following` does before it hands a brain on. Prints a row for each pair; a scan is taken where two
starts end near one another and enough is shared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mrigen.config import DataConfig
from mrigen.labels import Modality
from mrigen.preprocess.brain_mask import find_brain
from mrigen.preprocess.following import MAX_APART_MM, MIN_SHARED, T1wHead, register_to_scan, shared_structure
from mrigen.volume import read_volume

STRIP = DataConfig(head="strip")


def t1w_head(path: Path) -> T1wHead:
    """A T1w and its brain, by the extra mrigen[strip]."""
    volume = read_volume(path)
    return T1wHead(path.name, volume, find_brain(volume, STRIP, modality=Modality.T1W))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("t1w", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--strangers", type=Path, nargs="+", default=[])
    paths = parser.parse_args()
    print("| scan | T1w | of one person | shared | starts apart, mm | taken |\n| --- | --- | --- | --- | --- | --- |")
    for path in (paths.t1w, *paths.strangers):
        head = t1w_head(path)
        for scan in paths.scans:
            volume = read_volume(scan)
            to_scan, apart = register_to_scan(volume, head)
            shared = shared_structure(volume, head, to_scan)
            same, taken = (
                "yes" if true else "no" for true in (path == paths.t1w, apart <= MAX_APART_MM and shared >= MIN_SHARED)
            )
            print(f"| {scan.name} | {path.name} | {same} | {shared:.3f} | {apart:.1f} | {taken} |", flush=True)


if __name__ == "__main__":
    main()

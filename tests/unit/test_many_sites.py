"""Of the benchmark of sites: whom each model is trained on. To make them takes more than an hour."""

from __future__ import annotations

from docs.benchmarks.many_sites import CONFOUNDED, KNOWN, NUM_TRAINED, UNSEEN, WITH_TOKEN, designs, held_out
from mrigen.phantom.sites import draw_site


def test_designs_are_of_as_many_people_and_none_of_them_is_held_out() -> None:
    found = designs()
    numbers = {name: sum(map(len, people.values())) for name, people in found.items()}
    everybody = dict.fromkeys(("six sites with all", WITH_TOKEN), NUM_TRAINED * len(KNOWN))
    assert numbers == dict.fromkeys(found, NUM_TRAINED) | everybody
    tested = held_out([*KNOWN, *UNSEEN])
    assert not any(set(people[site]) & set(tested[site]) for people in found.values() for site in people)


def test_the_confounded_design_tells_the_pathology_by_the_site_and_the_other_does_not() -> None:
    def pathologies(name: str) -> dict[int, set[str]]:
        return {
            site: {draw_site(site).pathology_of(number) for number in numbers}
            for site, numbers in designs()[name].items()
        }

    assert pathologies("four confounded") == {site: {pathology} for site, pathology in CONFOUNDED.items()}
    assert all(len(some) == 4 for some in pathologies("four sites").values())

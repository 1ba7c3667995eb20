import math

import pytest

from mrigen.metrics.figure import Figure


def test_a_figure_is_a_value_or_a_reason() -> None:
    assert Figure.of(1.5, 3).as_json() == {"value": 1.5, "n": 3, "reason": None}
    assert Figure.missing("nothing there").as_json() == {"value": None, "n": 0, "reason": "nothing there"}
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure(1.0, 1, "but")
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure(None, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_a_reason(value: float) -> None:
    figure = Figure.of(value, 7)
    assert figure.value is None
    assert figure.n == 7
    assert "not finite" in (figure.reason or "")
    with pytest.raises(ValueError, match="finite"):
        Figure(value, 7)


def test_mean_of_nothing_gives_the_reason() -> None:
    assert Figure.mean([1.0, 2.0, 6.0], "none") == Figure(3.0, 3)
    assert Figure.mean([], "none") == Figure(None, 0, "none")
    assert Figure.mean([1.0, math.inf], "none").value is None

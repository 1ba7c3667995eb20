import math

import pytest

from mrigen.metrics.figure import Figure


def test_a_figure_is_a_value_or_a_reason() -> None:
    nothing = {"value": None, "n": 0, "low": None, "high": None, "p_value": None, "reason": None}
    assert Figure.of(1.5, 3).as_json() == {**nothing, "value": 1.5, "n": 3}
    assert Figure.missing("nothing there").as_json() == {**nothing, "reason": "nothing there"}
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure(1.0, 1, "but")
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure(None, 1)


def test_an_interval_has_two_ends_in_order_and_goes_with_a_value() -> None:
    figure = Figure.of(1.5, 3, (1.0, 2.0)).tested(0.02)
    assert (figure.low, figure.high, figure.p_value) == (1.0, 2.0, 0.02)
    assert Figure.from_json(figure.as_json()) == figure
    assert Figure.missing("why").tested(0.5).p_value is None
    for wrong in ({"low": 1.0}, {"low": 2.0, "high": 1.0}, {"low": math.nan, "high": 1.0}, {"p_value": math.nan}):
        with pytest.raises(ValueError, match=r"interval|finite"):
            Figure(1.5, 3, **wrong)
    with pytest.raises(ValueError, match="without a value"):
        Figure(None, 3, "why", 1.0, 2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_a_reason(value: float) -> None:
    figure = Figure.of(value, 7)
    assert figure.value is None
    assert figure.n == 7
    assert "not finite" in (figure.reason or "")
    with pytest.raises(ValueError, match="finite"):
        Figure(value, 7)

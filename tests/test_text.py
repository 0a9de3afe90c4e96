"""Numbers, amounts and counts as they are printed."""

from m1eval.text import format_cost, format_interval, format_p, is_are, plural


def test_costs_show_two_figures_at_least():
    costs = (None, 0.0, 0.0875, 0.00421, 12.345, 1234.5)
    assert [format_cost(cost) for cost in costs] == ["–", "$0.00", "$0.087", "$0.0042", "$12.35", "$1,234.50"]
    assert format_cost(1.5, complete=False) == "≥ $1.50"


def test_p_values_have_three_decimals():
    values = (1.0, 0.0420, 0.0342, 0.001, 0.0009)
    assert [format_p(p) for p in values] == ["p = 1.000", "p = 0.042", "p = 0.034", "p = 0.001", "p < 0.001"]


def test_counts_have_separators_and_their_noun():
    numbers = (0, 1, 2, 2410)
    assert [plural(n, "sample") for n in numbers] == ["0 samples", "1 sample", "2 samples", "2,410 samples"]
    assert (plural(2, "repeat of it", "repeats of it"), is_are(1), is_are(2)) == ("2 repeats of it", "is", "are")


def test_intervals_have_a_dash_or_signs():
    assert [format_interval(bounds) for bounds in (None, (0.5, 1))] == ["–", "0.500–1.000"]
    assert format_interval((-0.1, 0.2), signed=True) == "-0.100 to +0.200"

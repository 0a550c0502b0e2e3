"""How clusters and their cost look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from gpuforge.cli import clusterview
from gpuforge.cost.ledger import Spent
from gpuforge.testing.nodes import local_cluster

NOW = datetime(2026, 11, 25, 15, 40, tzinfo=UTC)


def spent(usd, *, simulated):
    return Spent(cluster="dev", usd=usd, since=NOW, until=NOW + timedelta(minutes=12), simulated=simulated)


@pytest.mark.parametrize(
    ("usd", "simulated", "told"),
    [
        (Decimal("0.004"), True, "$0.004 (simulated)"),
        (Decimal("61.2"), False, "$61.20"),
        (None, False, "unknown"),
    ],
)
def test_money_says_when_it_is_not_real(usd, simulated, told, capsys):
    """And what is unknown stays so."""
    clusterview.show_cost(spent(usd, simulated=simulated))
    clusterview.show_cost(spent(usd, simulated=simulated), so_far=True)

    assert capsys.readouterr().err == (
        f"  cost          {told} for 12 min\n  cost          {told} for 12 min so far\n"
    )


@pytest.mark.parametrize(
    ("usd", "text"), [(None, None), (Decimal("0.1234567"), "0.123457"), (Decimal(0), "0.000000")]
)
def test_money_in_documents_is_decimal_text(usd, text):
    """To the millionth, rounded up: never less than it is."""
    assert clusterview.usd_text(usd) == text


def test_a_name_is_needed_only_among_several():
    """Commands are offered as short as they work."""
    for count, told in ((1, ""), (2, " -c local")):
        forge = SimpleNamespace(clusters=lambda count=count, **_refresh: (None,) * count)
        assert clusterview.selector(SimpleNamespace(forge=forge, name="local")) == told


def test_a_cluster_without_autostop_ends_at_its_deadline_alone(capsys):
    """And a free one costs nothing an hour."""
    record = local_cluster(1)

    clusterview.show_still_up(SimpleNamespace(record=record))

    assert capsys.readouterr().err.endswith(", $0.00/h (simulated)\n")

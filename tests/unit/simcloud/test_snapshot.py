"""A list that lags tells two lies: it hides the fresh and shows the dead."""

from __future__ import annotations

from gpuforge.simcloud.instances import Status
from gpuforge.simcloud.snapshot import as_it_was


def _row(sim_cloud, make_body):
    sim_cloud.create("t", make_body())
    (row,) = sim_cloud.everything()
    return row


def test_what_lives_is_shown_as_it_is(sim_cloud, make_body):
    row = _row(sim_cloud, make_body)
    assert as_it_was(row, row.created + 5) is row


def test_what_came_later_is_hidden(sim_cloud, make_body):
    row = _row(sim_cloud, make_body)
    assert as_it_was(row, row.created - 0.1) is None


def test_what_has_died_since_is_shown_as_running(sim_cloud, make_body, sim_clock, at):
    row = _row(sim_cloud, make_body)
    sim_clock.advance(10)
    sim_cloud.delete([at()])
    sim_clock.advance(10)
    sim_cloud.settle()
    with sim_cloud._database.read() as db:
        from gpuforge.simcloud.instances import by_ids  # noqa: PLC0415 - the tombstone is seen nowhere else

        dead = by_ids(db, [row.id])[row.id]
    assert as_it_was(dead, row.created + 5).status is Status.RUNNING
    assert as_it_was(dead, row.created + 15) is None

"""Operations are numbered, remembered by token for ever, and end once."""

from __future__ import annotations

import pytest

from gpuforge.simcloud import operations
from gpuforge.simcloud.operations import OperationKind
from gpuforge.simcloud.refusals import Code, SimError


def test_names_count_up_and_say_the_kind(sim_cloud):
    sim_cloud.settle()
    with sim_cloud._database.write() as db:
        names = [
            operations.insert(db, kind, zone="z", targets=["1"], at=1.0, due=2.0)
            for kind in (OperationKind.DELETE, OperationKind.REBOOT)
        ]
    assert names == ["operation-1-delete", "operation-2-reboot"]


def test_one_that_is_finished_keeps_its_error(sim_cloud):
    with sim_cloud._database.write() as db:
        name = operations.insert(
            db, OperationKind.CREATE, zone="z", targets=["1", "2"], at=1.0, due=2.0, token="t"
        )
        operations.finish(db, name, at=3.0, code="capacity", message="none left")
        found = operations.by_token(db, "t")
    assert (found.name, found.is_done, found.targets) == (name, True, ("1", "2"))
    assert (found.error_code, found.error_message) == ("capacity", "none left")


def test_an_unknown_one_is_not_found(sim_cloud):
    with pytest.raises(SimError) as caught:
        sim_cloud.operation("operation-9-create")
    assert caught.value.code is Code.NOT_FOUND


def test_a_delete_is_done_when_the_last_of_its_targets_is(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t", make_body("a", "b"))
    sim_clock.advance(1)
    sim_cloud.delete([at("a"), at("b")])
    assert not sim_cloud.operation("operation-2-delete").is_done
    sim_clock.advance(1)
    done = sim_cloud.operation("operation-2-delete")
    assert done.is_done
    assert len(done.targets) == 2

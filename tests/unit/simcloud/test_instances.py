"""Finding instances: by id, by the name that lives or lived last, by owner; hostile words find nothing."""

from __future__ import annotations

import pytest

from gpuforge.simcloud.instances import Disk, Key, Status, by_ids, by_keys, by_owner, left_by


@pytest.fixture
def twice(sim_cloud, make_body, sim_clock, at):
    """A name that was used three times; the ids in order, none alive."""
    ids = []
    for number in range(3):
        ids += sim_cloud.create(f"t{number}", make_body(disk_gib=50 + number)).targets
        sim_clock.advance(1)
        sim_cloud.delete([at()])
        sim_clock.advance(1)
    sim_cloud.settle()
    return ids


def test_many_ids_are_found_in_one_question(sim_cloud, make_body):
    sim_cloud.set_quota("sim-central1", "CPUS", 5000)
    names = tuple(f"n{i}" for i in range(1100))
    ids = sim_cloud.create("t", make_body(*names, instance_type="sim-cpu-2")).targets
    with sim_cloud._database.read() as db:
        assert set(by_ids(db, [*ids, "7"])) == set(ids)


def test_a_name_finds_the_one_that_died_last(sim_cloud, twice, at):
    with sim_cloud._database.read() as db:
        (row,) = by_keys(db, [at()])
    assert (row.id, row.status) == (twice[-1], Status.DELETED)


def test_a_name_finds_the_living_before_the_dead(sim_cloud, twice, make_body, at):
    (new,) = sim_cloud.create("t9", make_body()).targets
    with sim_cloud._database.read() as db:
        (row,) = by_keys(db, [at()])
    assert row.id == new


def test_an_id_finds_its_own_incarnation(sim_cloud, twice, at):
    with sim_cloud._database.read() as db:
        rows = by_keys(db, [at(instance_id=twice[0]), at("other"), at(instance_id="5")])
    assert rows[0].id == twice[0]
    assert rows[1:] == [None, None]


@pytest.mark.parametrize("word", ["' OR 1=1 --", "%", "ann\n", "ü", ""])
def test_hostile_words_find_nothing(sim_cloud, make_body, word):
    sim_cloud.create("t", make_body())
    with sim_cloud._database.read() as db:
        assert by_owner(db, word) == []
        assert by_keys(db, [Key(zone=word, name=word), Key(zone=word, name=word, id=word)]) == [None, None]


def test_labels_come_back_as_they_were_given(sim_cloud, make_body, only):
    labels = {**only_labels(), "note": "a 'b' \"c\"\n;ü"}
    sim_cloud.create("t", make_body(labels=labels))
    assert only().labels == labels


def only_labels():
    return {
        "gf-owner": "ann",
        "gf-journal": "j",
        "gf-cluster": "c",
        "gf-intent": "i",
        "gf-deadline": "1",
    }


def test_a_disk_belongs_to_an_id_or_else_to_a_name_in_its_zone():
    disk = Disk(id="1", name="n", zone="z", size_gib=1, labels={}, instance_id="9")
    assert left_by(disk, Key(zone="z", name="n"))
    assert left_by(disk, Key(zone="", name="", id="9"))
    assert not left_by(disk, Key(zone="z", name="n", id="8"))
    assert not left_by(disk, Key(zone="y", name="n"))

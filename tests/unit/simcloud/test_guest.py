"""What is seen of a guest: attributes and console, with nothing in them that moves a terminal's cursor."""

from __future__ import annotations

import base64

import pytest

from gpuforge.simcloud.power import machine_folder
from gpuforge.simcloud.refusals import Code, SimError
from gpuforge.simcloud.settings import MachineMode


def test_a_row_publishes_a_well_formed_key_of_its_own_once_booted(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t", make_body("a", "b"))
    assert sim_cloud.guest(at("a")).attributes == {}
    sim_clock.advance(0.4)
    assert sim_cloud.guest(at("a")).attributes == {}
    sim_clock.advance(0.2)
    blobs = [sim_cloud.guest(at(name)).attributes["hostkeys/ssh-ed25519"] for name in ("a", "b")]
    assert len(set(blobs)) == 2
    assert all(len(base64.b64decode(blob)) == 51 for blob in blobs)
    assert "no machine" in sim_cloud.guest(at("a")).console_tail


def test_there_is_nothing_to_see_of_what_is_gone(sim_cloud, make_body, sim_clock, at):
    sim_cloud.create("t", make_body())
    sim_cloud.delete([at()])
    sim_clock.advance(5)
    for key in (at(), at("never")):
        with pytest.raises(SimError) as caught:
            sim_cloud.guest(key)
        assert caught.value.code is Code.NOT_FOUND


@pytest.fixture
def machine(make_cloud, fake_control, make_body, sim_clock):
    cloud = make_cloud(machines=MachineMode.PROCESSES, control=fake_control)
    cloud.create("t", make_body())
    sim_clock.advance(1)
    (row,) = cloud.everything()
    return cloud, machine_folder(cloud.folder, row.id)


def test_the_console_shows_its_last_lines_without_control_characters(machine, at):
    cloud, folder = machine
    lines = [f"line {number}" for number in range(5000)]
    (folder / "console.log").write_bytes("\n".join(lines).encode() + b"\n\x1b[2Jevil\xff\tend\n")
    tail = cloud.guest(at()).console_tail.splitlines()
    assert len(tail) == 20
    assert tail[-2] == "line 4999"
    assert "\x1b" not in tail[-1]
    assert tail[-1].endswith("\tend")


def test_a_machine_without_a_console_has_an_empty_one(machine, at):
    cloud, folder = machine
    (folder / "console.log").unlink()
    assert cloud.guest(at()).console_tail == ""

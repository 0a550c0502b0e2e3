"""Settings of the simulated cloud: what the environment says, and what it may not say."""

from __future__ import annotations

import pytest

from gpuforge.errors import SpecError
from gpuforge.simcloud.settings import Latency, MachineMode, SimSettings


def test_without_variables_machines_are_real_and_quick():
    settings = SimSettings.from_environment({})
    assert settings.machines is MachineMode.PROCESSES
    assert settings.ssh_server == "asyncssh"
    assert 0 < settings.latency.create_seconds < 1


def test_zero_latency_waits_for_nothing_but_keeps_the_soft_off_limit():
    latency = SimSettings.from_environment({"GPUFORGE_FAKE_LATENCY": "0"}).latency
    assert (latency.create_seconds, latency.boot_seconds, latency.delete_seconds) == (0, 0, 0)
    assert latency.soft_off_seconds == 30


def test_a_factor_scales_every_latency():
    latency = SimSettings.from_environment({"GPUFORGE_FAKE_LATENCY": " 2.5 "}).latency
    assert latency == Latency().scaled(2.5)


def test_realistic_boots_in_forty_seconds():
    assert SimSettings.from_environment({"GPUFORGE_FAKE_LATENCY": "Realistic"}).latency.boot_seconds == 40


@pytest.mark.parametrize("text", ["-1", "fast", "nan", "inf", "1e9", "0;rm"])
def test_a_latency_that_is_no_factor_is_refused_by_name(text):
    with pytest.raises(SpecError, match="GPUFORGE_FAKE_LATENCY") as caught:
        SimSettings.from_environment({"GPUFORGE_FAKE_LATENCY": text})
    assert "realistic" in caught.value.resolution


@pytest.mark.parametrize(
    ("name", "value"), [("GPUFORGE_FAKE_MACHINES", "some"), ("GPUFORGE_FAKE_SSHD", "dropbear\n")]
)
def test_an_unknown_choice_is_refused_with_what_there_is(name, value):
    with pytest.raises(SpecError, match=name) as caught:
        SimSettings.from_environment({name: value})
    assert " or " in caught.value.resolution


def test_choices_are_read_without_regard_to_case():
    settings = SimSettings.from_environment(
        {"GPUFORGE_FAKE_MACHINES": "NONE", "GPUFORGE_FAKE_SSHD": "OpenSSH"}
    )
    assert settings.machines is MachineMode.NONE
    assert settings.ssh_server == "openssh"

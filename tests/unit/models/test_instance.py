"""Instance states move one way, and host keys show as OpenSSH writes them."""

from __future__ import annotations

import pytest

from gpuforge.models.instance import LEGAL_TRANSITIONS, HostKey, InstanceState

S = InstanceState


def test_every_state_says_where_it_may_go():
    """The set is closed."""
    assert LEGAL_TRANSITIONS.keys() == set(S)


def test_gone_is_the_end():
    """Nothing comes back from it, under the same id."""
    assert LEGAL_TRANSITIONS[S.GONE] == frozenset()


@pytest.mark.parametrize("state", [state for state in S if state is not S.GONE])
def test_every_other_state_may_be_found_gone(state):
    """A cloud may lose a machine at any moment."""
    assert S.GONE in LEGAL_TRANSITIONS[state]


@pytest.mark.parametrize("state", list(S))
def test_no_state_goes_to_itself(state):
    """Staying is no transition."""
    assert state not in LEGAL_TRANSITIONS[state]


def test_a_machine_runs_only_after_it_was_pending():
    """A start goes through PENDING again, with a new deadline set before."""
    assert [state for state in S if S.RUNNING in LEGAL_TRANSITIONS[state]] == [S.PENDING]
    assert S.PENDING in LEGAL_TRANSITIONS[S.STOPPED]


def test_a_host_key_shows_as_one_line():
    """The form of known_hosts."""
    assert str(HostKey(kind="ssh-ed25519", blob="AAAA")) == "ssh-ed25519 AAAA"

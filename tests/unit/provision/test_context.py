"""The same call again under a deadline, the cloud's own clock, and who stands in the journal."""

from __future__ import annotations

import getpass

import pytest

from gpuforge._version import __version__
from gpuforge.errors import CapacityError, PolicyError, ProviderUnavailableError, RateLimitError
from gpuforge.provision.context import again, check_clock, lease_body


def failing(*errors):
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


def test_the_same_call_is_made_until_it_answers_with_growing_pauses(context, manual_clock):
    errors = [ProviderUnavailableError("503"), RateLimitError("429")] * 4

    assert again(context, failing(*errors), seconds=60) == "answer"

    assert manual_clock.slept == [0.25, 0.5, 1, 2, 4, 8, 8, 8]


def test_it_gives_up_exactly_at_its_deadline_with_the_last_error(context, manual_clock):
    with pytest.raises(RateLimitError, match="429"):
        again(context, failing(*[RateLimitError("429")] * 99), seconds=10)

    assert sum(manual_clock.slept) == 10


def test_other_errors_are_not_repeated(context, manual_clock):
    with pytest.raises(CapacityError):
        again(context, failing(CapacityError("none")), seconds=10)

    assert manual_clock.slept == []


@pytest.mark.parametrize("skew", [-60, 0, 60])
def test_the_clouds_time_is_taken_when_the_clocks_agree(context, cloud, manual_clock, skew):
    cloud.skew = skew

    assert (check_clock(context) - manual_clock.now()).total_seconds() == skew


@pytest.mark.parametrize(("skew", "words"), [(75, "75 s behind"), (-3600, "3600 s ahead of")])
def test_a_clock_that_is_off_is_refused_with_both_sides_named(context, cloud, skew, words):
    cloud.skew = skew

    with pytest.raises(PolicyError, match=words) as caught:
        check_clock(context)

    assert "set the clock" in caught.value.resolution


def test_a_laptop_that_slept_is_noticed_by_its_clock(context, cloud, manual_clock):
    before = check_clock(context)
    cloud.skew = 3600  # the cloud's time went on, this computer's stood still

    with pytest.raises(PolicyError):
        check_clock(context)

    assert before


def test_a_lease_names_account_computer_verb_and_version_but_no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/gpuforge", "run", "--env", "TOKEN=hunter2"])

    body = lease_body("up", "train")

    assert body["verb"] == "up"
    assert body["version"] == __version__
    assert str(body["who"]).startswith(f"{getpass.getuser()}@")
    assert "hunter2" not in str(body)


def test_an_account_without_a_name_is_a_number(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)

    assert str(lease_body("up", "train")["who"])[0].isdigit()

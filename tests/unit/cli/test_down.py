"""``down`` gives machines back: asks while a job runs, and says what it cost."""

from __future__ import annotations

from gpuforge.cli.down import _all, _busy
from gpuforge.cli.output import output
from gpuforge.errors import CleanupError, ConnectError, Leftover, NotFoundError


def test_a_live_job_is_asked_about(gpuforge, terminal, live):
    """Exit 76 without a terminal; on one, Enter alone keeps the machines."""
    gpuforge("run", "-d", "-c", "dev", "--", "sleep 60")
    job = gpuforge("jobs", "--json").document["data"][-1]["alias"]
    question = f"job {job} of dev is running: give the machines back all the same?"

    unasked = gpuforge("down", "dev")
    declined = terminal("down", answers=("\n",))
    gpuforge("cancel", str(job), "--grace", "0")

    assert unasked.code == declined.code == 76
    assert f"  why  {question}\n" in unasked.err
    assert f"{question} [y/N] " in declined.out
    assert len(gpuforge("status", "--json").document["data"]) == 1


def test_all_with_names_is_refused(gpuforge, here):
    """One of the two is meant."""
    assert gpuforge("down", "--all", "x").code == 64


def test_an_unknown_name_is_refused(gpuforge, here):
    """Exit 66."""
    result = gpuforge("down", "nosuch", "--yes")

    assert result.code == 66
    assert "no cluster 'nosuch' is up" in result.err


def test_several_unknown_names_are_one_refusal(gpuforge, here):
    """Each named; what was done is in the document."""
    result = gpuforge("down", "a", "b", "--yes", "--json")

    assert result.code == 66
    assert result.document["error"]["brief"] == "2 clusters could not be given back"
    assert result.document["data"] == []


def test_with_nothing_up_all_is_nothing(gpuforge, here):
    """No error: it is as it was asked."""
    result = gpuforge("down", "--all")

    assert (result.code, result.out) == (0, "no cluster is up\n")
    assert gpuforge("down", "--all", "--json").document["data"] == []


def test_everything_goes_at_once(gpuforge, here):
    """Two clusters: both gone by the cloud's word, each with its cost; --yes asks nothing."""
    for name in ("one", "two"):
        assert gpuforge("up", "--gpus", "L4:1", "-c", name, "--yes").code == 0
    which = gpuforge("jobs")
    assert (which.code, which.err) == (
        66,
        "error: 2 clusters are up: which one?\n  why  one, two\n  do   name it:  -c one\n",
    )
    gpuforge("run", "-d", "-c", "two", "--", "sleep 60")

    result = gpuforge("down", "--all", "--yes")

    assert result.code == 0
    assert result.err.count(" is gone, says its cloud ") == 2
    assert result.err.count("  cost          $") == 2
    assert gpuforge("status").out == "no cluster is up\n"


LEFT = Leftover(kind="disk", name="gf-1", place="zone-a", reason="denied")


def test_what_may_still_bill_wins_over_every_other_failure():
    """Exit 71, with the leftovers of all; one failure alone is shown as it is."""
    cleanup, missing = CleanupError("a may still bill", leftovers=[LEFT]), NotFoundError("no b")

    both = _all([missing, cleanup])

    assert both.exit_code == 71
    assert both.leftovers == (LEFT,)
    assert "no b" in both.details
    assert _all([missing]) is missing


def test_machines_that_do_not_answer_do_not_hinder_their_deletion(capsys):
    """It is said, not asked."""
    output.begin(as_json=False)

    class Silent:
        def cluster(self, name):
            raise ConnectError(f"{name} does not answer")

    assert _busy(Silent(), "dev") == []
    assert capsys.readouterr().err == (
        "warning: dev could not be asked for running jobs: dev does not answer\n"
    )

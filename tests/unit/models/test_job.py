"""Job states and specs."""

from __future__ import annotations

from gpuforge.models.job import JobSpec, JobState
from gpuforge.redact import Secret


def test_four_states_are_final():
    """After them nobody waits."""
    assert {state for state in JobState if state.is_final} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.LOST,
    }


def test_a_spec_does_not_show_its_secrets():
    """It is logged, compared and printed."""
    spec = JobSpec(job_id="j", name="n", setup="", run="true", secrets={"TOKEN": Secret("hush-hush")})

    assert "hush-hush" not in repr(spec)
    assert spec.workdir == "workdir"

"""Launch, follow and end jobs."""

from gpuforge.jobs.cancel import cancel
from gpuforge.jobs.launch import launch, run
from gpuforge.jobs.logs import LogChunk, LogStream, stream
from gpuforge.jobs.spec import job_spec
from gpuforge.jobs.status import job_status, list_jobs
from gpuforge.jobs.text import find, lines

__all__ = [
    "LogChunk",
    "LogStream",
    "cancel",
    "find",
    "job_spec",
    "job_status",
    "launch",
    "lines",
    "list_jobs",
    "run",
    "stream",
]

"""A node's folder, and jobs in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuforge.node.remote.files import boot_id, write_json
from gpuforge.node.remote.folder import JobFolder


@pytest.fixture
def root(tmp_path) -> str:
    folder = tmp_path / ".gpuforge"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def made_job(root):
    """Makes a job's folder as a supervisor that is gone left it."""

    def make(job_id: str = "job-1", **identity) -> JobFolder:
        folder = JobFolder(root, job_id)
        Path(folder.path).mkdir(parents=True)
        write_json(folder.file("spec.json"), {"name": "n", "grace_seconds": 0})
        facts = {
            "pid": 2**22 + 1,
            "session": -1,
            "boot_id": boot_id(),
            "rank": 0,
            "submitted": 1.0,
            **identity,
        }
        write_json(folder.file("pid.json"), facts)
        folder.reserve()
        return folder

    return make

"""Every path of ours: under one home when it is set, in the platform's folders otherwise."""

from __future__ import annotations

import os

from gpuforge.state.paths import Paths


def test_one_home_moves_everything(tmp_path):
    paths = Paths.from_environment({"GPUFORGE_HOME": str(tmp_path / "a b")})

    home = tmp_path / "a b"
    ours = (
        paths.journal,
        paths.journal_head,
        paths.locks,
        paths.stockouts,
        paths.simcloud,
        paths.cluster("x"),
    )
    assert all(path.is_relative_to(home / "state") for path in ours)
    assert len(set(ours)) == len(ours)
    assert paths.settings_file.parent == home
    assert paths.cache.is_relative_to(home)


def test_the_processs_own_environment_is_the_default(gpuforge_home):
    assert Paths.from_environment().state == gpuforge_home / "state"


def test_a_home_with_a_tilde_is_expanded(tmp_path):
    assert Paths.from_environment({"GPUFORGE_HOME": "~/x"}).config == tmp_path / "x"


def test_without_a_home_the_platforms_folders_are_used():
    paths = Paths.from_environment({})

    assert {paths.config.name, paths.state.name, paths.cache.name} == {"gpuforge"}


def test_sockets_lie_in_a_short_folder_of_this_user_and_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    one = Paths.from_environment({"GPUFORGE_HOME": str(tmp_path / "one")}).sockets
    two = Paths.from_environment({"GPUFORGE_HOME": str(tmp_path / "two")}).sockets

    assert one != two
    assert one.parent.as_posix() == "/run/user/7"
    assert f"-{os.getuid()}-" in one.name
    assert len(str(one)) < 60

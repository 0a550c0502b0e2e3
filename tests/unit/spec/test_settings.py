"""Settings: four places, one order, and where each value came from."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from gpuforge.errors import SpecError
from gpuforge.spec.settings import load_settings
from gpuforge.state.paths import Paths


@pytest.fixture
def home(tmp_path):
    """A person's folders, and a project below them."""
    (tmp_path / "config").mkdir()
    (tmp_path / "project" / "src").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def settings(home):
    """Load from ``project/src``."""

    def loading(config="", project="", flags=None, **environ):
        if config:
            (home / "config" / "config.toml").write_text(config)
        if project:
            (home / "project" / "gpuforge.toml").write_text(project)
        paths = Paths(config=home / "config", state=home / "state", cache=home / "cache")
        return load_settings(
            paths,
            environ={"USER": "me", "HOME": str(home), **environ},
            cwd=home / "project" / "src",
            flags=flags,
        )

    return loading


@pytest.fixture
def refused(settings, home):
    """What is refused: place (without the folder) to message."""

    def refusing(*arguments, **keywords):
        with pytest.raises(SpecError) as caught:
            settings(*arguments, **keywords)
        return {m.where.removeprefix(f"{home}/"): m.message for m in caught.value.mistakes}

    return refusing


def test_defaults(settings):
    """A paid cloud is never one of them."""
    found = settings()

    assert (found.provider, found.region, found.max_duration) == ("fake", None, timedelta(hours=6))
    assert (found.autostop_minutes, found.heartbeat_seconds, found.ssh_engine) == (20, 30, "auto")
    assert found.owner.startswith("me-")
    assert found.fake == {}
    assert set(found.origins.values()) == {"default"}


def test_each_place_wins_over_the_ones_before(settings, home):
    """User, project, environment, flags; and each value says where it came from."""
    found = settings(
        'provider = "a"\nregion = "a"\nowner = "a"\nheartbeat_seconds = 10\n'
        '[fake]\nlatency = 0\nsshd = "openssh"\n',
        'provider = "b"\nregion = "b"\nowner = "b"\n[fake]\nlatency = 2.5\n',
        {"provider": "d"},
        GPUFORGE_PROVIDER="c",
        GPUFORGE_REGION="c",
        GPUFORGE_FAKE_MACHINES="none",
    )

    assert (found.provider, found.region, found.owner, found.heartbeat_seconds) == ("d", "c", "b", 10)
    assert found.provider_environ() == {
        "GPUFORGE_FAKE_LATENCY": "2.5",
        "GPUFORGE_FAKE_SSHD": "openssh",
        "GPUFORGE_FAKE_MACHINES": "none",
    }
    user, project = f"{home}/config/config.toml", f"{home}/project/gpuforge.toml"
    assert found.origins == {
        "provider": "flag",
        "region": "env GPUFORGE_REGION",
        "owner": project,
        "max_duration": "default",
        "autostop_minutes": "default",
        "heartbeat_seconds": user,
        "ssh_engine": "default",
        "fake.latency": project,
        "fake.sshd": user,
        "fake.machines": "env GPUFORGE_FAKE_MACHINES",
    }


def test_what_doctor_tells(settings):
    """Every setting in words, with its origin."""
    found = settings("autostop_minutes = false\n[fake]\nlatency = 0\n")

    told = {name: (value, origin) for name, value, origin in found.told()}

    assert told["max_duration"] == ("6h", "default")
    assert told["region"] == ("any", "default")
    assert told["autostop_minutes"][0] == "off"
    assert told["fake.latency"][0] == "0"
    assert told["autostop_minutes"][1].endswith("config.toml")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ('provider = "GCP"', "provider", "gcp"),
        ('max_duration = "1d2h"', "max_duration", timedelta(hours=26)),
        ("autostop_minutes = 0", "autostop_minutes", None),
        ('autostop_minutes = "off"', "autostop_minutes", None),
        ("autostop_minutes = 5", "autostop_minutes", 5),
        ('ssh_engine = "paramiko"', "ssh_engine", "paramiko"),
        ('owner = "team-vision"', "owner", "team-vision"),
    ],
)
def test_values_of_a_file(settings, line, name, value):
    """Typed."""
    assert getattr(settings(line), name) == value


def test_values_of_the_environment_are_texts(settings):
    """Numbers included; an empty variable says nothing."""
    found = settings(GPUFORGE_AUTOSTOP_MINUTES="7", GPUFORGE_HEARTBEAT_SECONDS=" 5 ", GPUFORGE_PROVIDER="")

    assert (found.autostop_minutes, found.heartbeat_seconds, found.provider) == (7, 5, "fake")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("providr = 1", 'unknown setting "providr"; did you mean "provider"?'),
        ("zzz = 1", 'unknown setting "zzz"; there are provider, '),
        ("provider = 1", "is not text; write it in quotes"),
        ('provider = "a b"', "is not a provider's name"),
        ('region = "a b"', "is not a region's name"),
        ('owner = "Me@Host"', "such as me-host"),
        ("max_duration = 6", 'write "6m" for minutes or "6h" for hours'),
        ("max_duration = true", "is not text"),
        ('autostop_minutes = "soon"', "write a whole number from 0 to"),
        ("autostop_minutes = true", "write a whole number from 0 to"),
        ("autostop_minutes = -1", "write a whole number from 0 to"),
        ("heartbeat_seconds = 0", "write a whole number from 1 to 3600"),
        ("heartbeat_seconds = 1.5", "write a whole number from 1 to 3600"),
        ('ssh_engine = "putty"', "write auto, openssh or paramiko"),
        ("[fake]\nlatencie = 1", 'did you mean "latency"?'),
        ("[fake]\nzzz = 1", "there are latency, machines, sshd"),
        ("[fake]\nlatency = true", "is neither text nor a number"),
        ("fake = 5", 'unknown setting "fake"'),
    ],
)
def test_wrong_values_are_refused_with_file_and_line(refused, line, says):
    """Comments and other tables above do not move it."""
    found = refused(f"# a note\n\n{line}\n")

    number = 4 if "[" in line else 3
    assert list(found) == [f"config/config.toml:{number}:1"]
    assert says in found[f"config/config.toml:{number}:1"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"providr" = 1\n', 1),
        ("[fake]\nlatency = 1\n\n[providr]\nx = 1\n", 4),
        ("fake.latency = 1\nfake.wrong = 2\n", 2),
        ("fake = {latency = 1, wrong = 2}\n", 1),
        ('# not found again\n"\\u007a" = 1\n', 1),
    ],
)
def test_lines_of_other_ways_to_write_toml(refused, text, line):
    """Quoted keys, tables, dotted keys, inline tables."""
    assert list(refused(text)) == [f"config/config.toml:{line}:1"]


def test_all_mistakes_of_all_places_come_at_once(refused):
    """In the order of the places."""
    found = refused("a = 1\nb = 2\n", "c = 3\n", {"ssh_engine": "x"}, GPUFORGE_MAX_DURATION="6")

    assert list(found) == [
        "config/config.toml:1:1",
        "config/config.toml:2:1",
        "project/gpuforge.toml:1:1",
        "GPUFORGE_MAX_DURATION",
        "--ssh-engine",
    ]


def test_broken_toml_has_its_place(refused):
    """As far as the parser tells it."""
    found = refused("provider = \n")

    assert list(found) == ["config/config.toml:1:12"]
    assert found["config/config.toml:1:12"].startswith("not TOML: Invalid value")


def test_toml_that_ends_too_early(refused):
    """The parser gives no line there."""
    (message,) = refused('provider = "x').values()

    assert message.startswith("not TOML: ")


def test_a_file_that_is_not_utf8_is_refused(refused, home):
    """By name."""
    (home / "config" / "config.toml").write_bytes(b'owner = "\xe9"\n')

    assert refused() == {"config/config.toml": "cannot be read: it is not UTF-8"}


def test_a_folder_in_the_place_of_the_file_is_refused(refused, home):
    """With the system's reason."""
    (home / "config" / "config.toml").mkdir()

    assert refused() == {"config/config.toml": "cannot be read: Is a directory"}


def test_a_byte_order_mark_is_read_over(settings):
    """Editors of another system write it."""
    assert settings('\ufeffprovider = "gcp"\n').provider == "gcp"


def test_the_nearest_project_file_is_the_one(settings, home):
    """Only one is read."""
    (home / "project" / "src" / "gpuforge.toml").write_text('owner = "near"\n')

    found = settings(project='owner = "far"\nregion = "far"\n')

    assert (found.owner, found.region) == ("near", None)


@pytest.mark.parametrize("wall", [".git", "home"])
def test_the_search_ends_at_the_repository_and_at_home(settings, home, wall):
    """Somebody else's file further up has no say."""
    (home / "gpuforge.toml").write_text('owner = "far"\n')
    if wall == ".git":
        (home / "project" / ".git").mkdir()

    found = settings(HOME=str(home / "project")) if wall == "home" else settings()

    assert found.owner != "far"


def test_a_file_in_the_wall_itself_is_read(settings, home):
    """The repository's root is part of it."""
    (home / "project" / ".git").write_text("gitdir: elsewhere\n")

    assert settings(project='owner = "root-file"\n').owner == "root-file"


def test_another_users_project_file_is_left_alone(settings, home, monkeypatch):
    """A file in a shared folder must not choose a cloud for its reader."""
    path = home / "project" / "gpuforge.toml"
    path.write_text('provider = "gcp"\n')
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    monkeypatch.setattr(os, "getuid", lambda: 54321)

    found = settings()

    assert found.provider == "fake"
    assert found.warnings == (f"{path} belongs to another user and was left alone",)


def test_a_misspelt_variable_is_noted_and_foreign_ones_are_not(settings):
    """A job's own variables may be around."""
    found = settings(GPUFORGE_PROVIDR="gcp", GPUFORGE_NODE_RANK="0", GPUFORGE_HOME="/x", OTHER="1")

    assert found.warnings == ("GPUFORGE_PROVIDR is no setting of gpuforge; did you mean GPUFORGE_PROVIDER?",)


@pytest.mark.parametrize("environ", [{"USER": "Ann Lee"}, {"USER": "", "LOGNAME": "ann"}, {"USER": ""}])
def test_the_default_owner_is_a_legal_label(settings, environ):
    """Whatever the user's name is."""
    owner = settings(**environ).owner

    assert owner == owner.lower()
    assert owner.replace("-", "").isalnum()


def test_an_owner_without_a_name_is_a_number(settings, monkeypatch):
    """A container may run as a user that its system does not know."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)

    assert settings(USER="").owner.startswith("uid-4000000-")


def test_loading_settings_costs_little():
    """Every verb does it."""
    code = (
        "import sys, gpuforge.spec.settings as s, pathlib\n"
        "from gpuforge.state.paths import Paths\n"
        "s.load_settings(Paths.from_environment(), environ={}, cwd=pathlib.Path('/'))\n"
        "print([m for m in ('pydantic', 'yaml', 'difflib', 'rich', 'click') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"

"""``workdir``, ``file_mounts`` and ``outputs``: what is copied, and what never is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.errors import SpecError
from gpuforge.spec.files import FileMount
from gpuforge.spec.load import load_task, load_task_text
from gpuforge.spec.task import Task


@pytest.fixture
def folder(tmp_path):
    """A few things to copy."""
    (tmp_path / "src").mkdir()
    (tmp_path / "odd; name\n☃").mkdir()
    (tmp_path / "file.txt").write_text("x")
    return tmp_path


@pytest.mark.parametrize("text", [".", "src", "./src", "src/../src", "~/src", "{absolute}"])
def test_a_workdir_is_an_absolute_folder(load, folder, text):
    """Relative paths start at the caller's folder, as in SkyPilot."""
    written = text.format(absolute=folder)

    task = load(f"workdir: {written}\n", environ={"HOME": str(folder)})

    assert task.workdir == (folder if text in (".", "{absolute}") else folder / "src")


def test_a_workdir_may_have_any_name(load, folder):
    """Line breaks included."""
    assert load('workdir: "odd; name\\n☃"\n').workdir == folder / "odd; name\n☃"


@pytest.mark.parametrize("line", ["workdir:", "workdir: null", "run: x"])
def test_no_workdir_is_none(load, line):
    """Nothing is copied."""
    assert load(f"{line}\n").workdir is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("gone", 'there is no "gone" here ("'),
        ("file.txt", '"file.txt" is a file; the workdir is a folder'),
        ("file.txt/x", "cannot be read: Not a directory"),
        ('""', "the path is empty"),
        ('"a\\0b"', "a zero byte"),
        ("https://example.org/x.git", "is not a local folder"),
        ("git@example.org:x.git", "is not a local folder"),
        ("{url: x, ref: y}", "a workdir from git is not in this version"),
        ("[src]", "a list is not text"),
        ("$GONE/x", '"$GONE" is not one of this task\'s envs'),
        ("x" * 300, "cannot be read"),
    ],
)
def test_other_workdirs_are_refused_at_their_line(refused, folder, value, says):
    """Before anything is rented."""
    found = refused(f"run: x\nworkdir: {value}\n")

    assert list(found) == ["2:10"]
    assert says in found["2:10"]


def test_variables_of_the_task_fill_paths(load, folder):
    """In both forms, from envs alone."""
    task = load(
        "envs: {D: src, N: file}\nworkdir: ${D}\nfile_mounts:\n  ~/$D/x: $N.txt\n", environ={"D": "elsewhere"}
    )

    assert task.workdir == folder / "src"
    assert task.file_mounts == (FileMount(remote="src/x", local=folder / "file.txt"),)


def test_a_secret_never_becomes_part_of_a_path(refused, folder):
    """Paths are shown and logged."""
    found = refused("secrets: {S: hush-hush}\nworkdir: $S\nfile_mounts: {$S/x: src, ~/y: $S}\n")

    assert found == dict.fromkeys(["2:10", "3:15", "3:31"], '"S" is a secret; a path would show it')


def test_paths_with_variables_wait_for_their_envs(refused, folder):
    """A refused variable does not bring a second mistake about every path that uses it."""
    found = refused("envs: {D: }\nworkdir: $D\nfile_mounts: {~/$D: src, ~/x: $D, ~/y: gone}\n")

    assert sorted(found) == ["1:8", "3:40"]


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("~/data", "data"),
        ("~/a/./b//c", "a/b/c"),
        ("/data/train", "/data/train"),
        ("data", "workdir/data"),
        ("./data", "workdir/data"),
        ('"~/odd; name ☃"', "odd; name ☃"),
    ],
)
def test_destinations_are_below_home_or_absolute(load, folder, remote, expected):
    """A relative one is relative to the workdir, as in SkyPilot."""
    assert load(f"file_mounts: {{{remote}: src}}\n").file_mounts == (
        FileMount(remote=expected, local=folder / "src"),
    )


@pytest.mark.parametrize(
    ("remote", "says"),
    [
        ("~/../x", 'goes up with ".."'),
        ("../x", 'goes up with ".."'),
        ("/a/../../x", 'goes up with ".."'),
        ('"~"', "is not a path below the home folder"),
        ("/", "cannot be a destination"),
        (".", "cannot be a destination"),
        ('""', "cannot be a destination"),
        ('"a\\nb"', "cannot be a destination"),
        ("~root/x", "is not a path below the home folder"),
        ("~/x/", 'ends with a slash; write "~/x"'),
        ("gs://b/x", "a bucket cannot be a destination"),
    ],
)
def test_other_destinations_are_refused_at_their_key(refused, folder, remote, says):
    """A mount never leaves the place that it names."""
    found = refused(f"file_mounts:\n  {remote}: src\n")

    assert list(found) == ["2:3"]
    assert says in found["2:3"]


@pytest.mark.parametrize(
    ("local", "says"),
    [
        ("gone", 'there is no "gone" here'),
        ("src/", 'ends with a slash; write "src"'),
        ("s3://bucket/x", "only local paths are copied in this version"),
        ("gs://bucket", "only local paths are copied in this version"),
        ("https://example.org/x", "only local paths are copied in this version"),
        ("{source: s3://x, mode: MOUNT}", "buckets and mounts are not in this version"),
        ("", "nothing is not text"),
        ('""', "the path is empty"),
        ("[src]", "a list is not text"),
    ],
)
def test_other_sources_are_refused_at_their_value(refused, folder, local, says):
    """Before anything is rented."""
    (message,) = refused(f"file_mounts:\n  ~/x: {local}\n").values()

    assert says in message


def test_two_mounts_of_one_place_are_refused(refused, folder):
    """However each is written."""
    found = refused("file_mounts:\n  ~/x: src\n  ~/./x: file.txt\n")

    assert found == {"3:3": 'two mounts meet at "x"; remove one'}


@pytest.mark.parametrize("line", ["file_mounts:", "file_mounts: {}"])
def test_no_mounts(load, line):
    """A null map is empty."""
    assert load(f"{line}\n").file_mounts == ()


def test_mounts_are_a_map(refused):
    """Not a list of pairs."""
    assert "write remote/path: local/path lines" in refused("file_mounts: [a]\n")["1:14"]


@pytest.mark.parametrize(
    "path", ["~/.ssh/id", "~/.aws", "~/.config/gcloud/key.json", "~/.gnupg/x", "~/.netrc"]
)
def test_a_mounted_credential_is_named(load, folder, path):
    """The plan says it before it leaves."""
    real = folder / path[2:]
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_text("x")

    task = load(f"file_mounts:\n  ~/x: {path}\n", environ={"HOME": str(folder)})

    assert task.warnings == (
        f"gpuforge.yaml:2:8: {real} looks like a credential; it is copied to every node",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[runs, logs/*.txt]", ("runs", "logs/*.txt")),
        ("[./runs/, runs, 'a b', '**/x.pt']", ("runs", "a b", "**/x.pt")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_outputs_are_paths_or_globs_in_the_workdir(load, value, expected):
    """Each once, in one form."""
    assert load(f"outputs: {value}\n").outputs == expected


@pytest.mark.parametrize(
    ("value", "where", "says"),
    [
        ("[runs, /etc/passwd]", "1:17", "is absolute"),
        ("[a/../../x]", "1:11", 'goes up with ".."'),
        ("[~/x]", "1:11", "begins at the home folder"),
        ("[.]", "1:11", "is the whole workdir"),
        ("['']", "1:11", "is the whole workdir"),
        ('["a\\nb"]', "1:11", "holds a line break"),
        ("[s3://b/x]", "1:11", "is not a path under the workdir"),
        ("[{path: runs, to: gs://b}]", "1:11", "to a bucket is not in this version"),
        ("[5.10]", "1:11", "quote it"),
        ("runs", "1:10", "outputs is a list; write outputs: [runs]"),
        ("{model: 5}", "1:10", "outputs is a list of paths or globs"),
        ("5", "1:10", '"5" is not a list'),
    ],
)
def test_other_outputs_are_refused_at_their_place(refused, value, where, says):
    """Nothing outside the workdir comes back."""
    found = refused(f"outputs: {value}\n")

    assert list(found) == [where]
    assert says in found[where]


@given(st.lists(st.text(max_size=20), max_size=4))
def test_no_output_that_is_read_leaves_the_workdir(patterns):
    """For any text from Python."""
    try:
        outputs = Task(outputs=patterns).outputs
    except SpecError:
        return

    for pattern in outputs:
        path = os.path.normpath(Path("/w", pattern))
        assert path.startswith("/w/")
        assert not re.search(r"[\n\0]", pattern)


def test_python_paths(tmp_path):
    """Path objects go in as they are."""
    task = Task(workdir=tmp_path, file_mounts={"~/x": tmp_path})

    assert task.workdir == tmp_path
    assert Task(file_mounts=task.file_mounts).file_mounts == (FileMount(remote="x", local=tmp_path),)


def test_a_workdir_elsewhere_than_the_file_is_noted(tmp_path):
    """Who calls from another folder sees which one is meant."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gpuforge.yaml").write_text("workdir: .\n")

    here = load_task(Path("a/gpuforge.yaml"), environ={}, cwd=tmp_path)
    there = load_task(Path("gpuforge.yaml"), environ={}, cwd=tmp_path / "a")

    assert here.warnings == (
        f"a/gpuforge.yaml:1:10: the workdir is {tmp_path}, not the task file's folder {tmp_path / 'a'}",
    )
    assert there.warnings == ()
    assert load_task_text("workdir: .\n", environ={}, cwd=tmp_path).warnings == ()

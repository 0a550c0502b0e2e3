"""The task as a value: from Python and from a file, and what later stages ask it."""

from __future__ import annotations

import copy
import pickle
import traceback

import pydantic
import pytest

from gpuforge.errors import SpecError
from gpuforge.redact import Secret
from gpuforge.spec.load import load_task_text
from gpuforge.spec.task import Resources, Task

FULL = """\
# first line
name: My_Task
workdir: .
resources:
  accelerators: L4
"""


def test_a_task_from_python_takes_the_files_keys(tmp_path):
    """Aliases included."""
    task = Task(
        run="python train.py", workdir=tmp_path, resources={"gpus": "L4:1", "cpus": 4}, nodes=2, env={"A": 1}
    )

    assert (task.run, task.num_nodes, task.envs) == ("python train.py", 2, {"A": "1"})
    assert str(task.needs().alternatives[0].accelerators[0]) == "L4:1"
    assert task.source is None
    assert task.mark("resources.accelerators") is None


def test_mistakes_from_python_name_the_key_path():
    """All at once, as our own kind of error."""
    with pytest.raises(SpecError) as caught:
        Task(run=["a"], num_nodes=0, foo=1, resources={"acelerators": "L4", "any_of": [{"cpus": "x"}]})

    assert caught.value.brief == "the task has 5 mistakes"
    assert {mistake.where for mistake in caught.value.mistakes} == {
        "run", "num_nodes", "foo", "resources.acelerators", "resources.any_of.0.cpus",
    }  # fmt: skip


def test_resources_may_be_made_beforehand():
    """A ready-made value goes in as it is."""
    assert (
        str(Task(resources=Resources(accelerators="T4:2")).needs().alternatives[0].accelerators[0]) == "T4:2"
    )


KEYS = {"num_nodes": 0, "secrets": {"S": "hush-hush-value"}, "envs": {"A-B": "x"}}


def test_an_error_holds_no_secret():
    """Neither in its texts nor in what it is chained to."""
    with pytest.raises(SpecError) as caught:
        Task(**KEYS)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "hush-hush-value" not in "".join(traceback.format_exception(caught.value))
    assert "hush-hush-value" not in repr(caught.value.__dict__)


def test_a_task_cannot_be_changed():
    """What was planned is what runs."""
    task = Task(run="x")

    with pytest.raises(pydantic.ValidationError):
        task.run = "y"


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])  # noqa: S301 - our own bytes
def test_a_task_can_be_copied(clone, tmp_path):
    """With its secrets and its places."""
    (tmp_path / "gpuforge.yaml").write_text(FULL)
    task = Task.from_yaml(tmp_path / "gpuforge.yaml", secrets={"S": "hush-hush"})

    twin = clone(task)

    assert twin.secrets == {"S": Secret("hush-hush")}
    assert twin.mark("resources.accelerators") == task.mark("resources.accelerators")
    assert (twin.source, twin.warnings) == (task.source, task.warnings)


def test_from_yaml_reads_the_file_with_overrides_over_it(tmp_path, monkeypatch):
    """Relative to the process's folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpuforge.yaml").write_text(FULL)

    task = Task.from_yaml(num_nodes=3, gpus="T4")

    assert (task.num_nodes, task.source) == (3, tmp_path / "gpuforge.yaml")
    assert str(task.needs().alternatives[0].accelerators[0]) == "T4:1"


def test_marks_point_into_the_file(load):
    """The key asked for, or the nearest around it."""
    task = load(FULL)

    mark = task.mark("resources.accelerators")
    assert (str(mark), mark.snippet) == ("gpuforge.yaml:5:17", "L4")
    assert str(task.mark("resources.cpus")) == "gpuforge.yaml:4:1"
    assert str(task.mark("max_cost")) == "gpuforge.yaml:2:1"
    mistake = task.mistake("resources.accelerators", "no such GPU")
    assert (mistake.where, mistake.snippet, mistake.message) == ("gpuforge.yaml:5:17", "L4", "no such GPU")


@pytest.mark.parametrize(
    ("text", "name"),
    [("name: My_Task", "my-task"), ("run: x", "folder-of-mine"), ("name: 7up", "c-7up")],
)
def test_a_cluster_is_named_after_the_task_or_the_folder(tmp_path, text, name):
    """As a label can hold it."""
    folder = tmp_path / "Folder of mine"

    assert load_task_text(text, environ={}, cwd=folder).cluster_name() == name


@pytest.mark.parametrize(
    ("text", "provider"),
    [
        ("run: x", None),
        ("infra: fake", "fake"),
        ("cloud: fake", "fake"),
        ("resources: {infra: fake/r}", "fake"),
        ("resources: {any_of: [{cpus: 4}, {cloud: fake}]}", "fake"),
        ("resources: {ordered: [{infra: fake/r}]}", "fake"),
        ("infra: '*/r'", None),
    ],
)
def test_the_provider_is_the_one_that_is_named_anywhere(load, text, provider):
    """There is at most one."""
    assert load(text).provider == provider


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("run: x", "home"), ("infra: fake", None), ("infra: fake/r", "r"), ("region: r", "r"),
        ("zone: z", None), ("resources: {region: r}", "r"),
        ("resources: {any_of: [{region: r}]}", "r"), ("infra: '*'", None),
    ],
)  # fmt: skip
def test_the_settings_region_holds_where_a_task_names_no_place(load, text, region):
    """Another provider's region would find nothing."""
    task = load(text).in_region("home")

    assert task.needs().alternatives[0].region == region
    assert load(text).in_region(None).needs() == load(text).needs()


def test_all_mistakes_of_a_file_come_at_once(refused):
    """The screen of the design, and then some."""
    found = refused(
        "name: x\nresources:\n  infra: fake\n  acelerators: L4\n  memory: lots\nenvs:\n  HF_TOKEN:\n"
        "num_nodes: 0\nnum_nodes: 1\noutputs: [/x]\nworkdir: gone\n"
    )

    assert list(found) == ["4:3", "5:11", "7:3", "8:12", "9:1", "10:11", "11:10"]
    assert found["4:3"] == 'unknown key "acelerators"; did you mean "accelerators"?'
    assert found["7:3"] == "needs a value: --env HF_TOKEN=… or export it"

"""Each kind of error as the user sees it: what, why, what to do, and the documented code."""

from __future__ import annotations

import errno
import json

import click
import pytest

from gpuforge import errors
from gpuforge.cli.errors import echoed, error_data, report, run_and_report
from gpuforge.cli.main import cli
from gpuforge.cli.output import output
from gpuforge.errors import Attempt, GpuforgeError, Leftover, Mistake


@pytest.fixture(autouse=True)
def fresh():
    output.begin(as_json=False)


SPECIAL = {
    "SpecError": errors.SpecError(
        "gpuforge.yaml has 2 mistakes",
        mistakes=[
            Mistake(
                where="gpuforge.yaml:7:3", snippet="acelerators: L4",
                message='unknown key; did you mean "accelerators"?',
            ),
            Mistake(where="--env", message="needs a value"),
        ],
    ),
    "ProvisionError": errors.ProvisionError(
        "nobody sells H100:8 now",
        attempts=[
            Attempt(instance_type="a3-highgpu-8g", place="us-central1-a", reason="out of stock",
                    error_code="capacity"),
            Attempt(instance_type="a3-mega", place="–", reason="not sold", error_code="unsupported"),
        ],
        resolution=(
            "another region   gpuforge run --infra gcp/us-east4\nor spot          gpuforge run --use-spot"
        ),
    ),
    "SyncError": errors.SyncError(
        "the copy is incomplete", rows=[("a.txt", "no space"), ("long/b.txt", "name too long")],
        resolution="make room",
    ),
    "CleanupError": errors.CleanupError(
        "this may still cost money",
        leftovers=[
            Leftover(kind="disk", name="gf-1", place="zone-a", reason="denied"),
            Leftover(kind="instance", name="gf-2", place="zone-b", reason="no answer",
                     until="2026-11-25T21:40:00Z"),
        ],
        resolution="gpuforge gc --yes",
    ),
}  # fmt: skip

SEEN = {
    "SpecError": (
        64,
        """\
error: gpuforge.yaml has 2 mistakes
  gpuforge.yaml:7:3    acelerators: L4
                       ^^^^^^^^^^^ unknown key; did you mean "accelerators"?
  --env                needs a value
""",
    ),
    "ProvisionError": (
        69,
        """\
error: nobody sells H100:8 now
  why  a3-highgpu-8g  us-central1-a  out of stock
       a3-mega        –              not sold
  do   another region   gpuforge run --infra gcp/us-east4
       or spot          gpuforge run --use-spot
""",
    ),
    "SyncError": (
        74,
        """\
error: the copy is incomplete
  why  a.txt       no space
       long/b.txt  name too long
  do   make room
""",
    ),
    "CleanupError": (
        71,
        """\
error: this may still cost money
  disk gf-1 in zone-a: denied
  instance gf-2 in zone-b: no answer; its cloud ends it at 2026-11-25T21:40:00Z
  do   gpuforge gc --yes
""",
    ),
}
PLAIN = "error: it broke\n  why  one\n       two\n  do   fix it\n"
CODES = {
    "GpuforgeError": 70, "PolicyError": 73, "DeclinedError": 76, "DeadlineError": 75, "BudgetError": 73,
    "ProviderError": 67, "CapacityError": 69, "QuotaError": 73, "RateLimitError": 67,
    "ProviderUnavailableError": 67, "CredentialsError": 77, "PermissionDeniedError": 77,
    "InvalidRequestError": 67, "NotFoundError": 66, "ConflictError": 67, "UnsupportedError": 67,
    "TransportError": 68, "ConnectError": 68, "AuthError": 68, "HostKeyError": 68, "CommandError": 68,
    "JobError": 66, "StateError": 72,
}  # fmt: skip
KINDS = [
    name
    for name in errors.__all__
    if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), GpuforgeError)
]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_shown_in_its_form_with_its_code(name, capsys):
    """The whole text, compared as a whole."""
    kind = getattr(errors, name)
    error = SPECIAL.get(name) or kind("it broke", details="one\ntwo", resolution="fix it")
    code, text = SEEN.get(name) or (CODES[name], PLAIN)

    assert report(error) == code

    captured = capsys.readouterr()
    assert captured.err == text
    assert captured.out == ""


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_one_document_with_json(name, capsys):
    """Code, exit code and the three parts; rows of those kinds that have some."""
    kind = getattr(errors, name)
    error = SPECIAL.get(name) or kind("it broke", details="one", resolution="fix it")
    output.begin(as_json=True)

    report(error, data={"reached": True})

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document["ok"] is False
    assert document["data"] == {"reached": True}
    assert document["error"]["code"] == kind.code
    assert document["error"]["exit_code"] == kind.exit_code
    assert document["error"]["brief"] == error.brief


def test_documents_hold_rows_as_fields():
    """Nothing has to be parsed out of text."""
    assert error_data(SPECIAL["SpecError"])["mistakes"][1]["where"] == "--env"
    assert error_data(SPECIAL["ProvisionError"])["attempts"][0]["code"] == "capacity"
    assert error_data(SPECIAL["SyncError"])["rows"][0] == {"path": "a.txt", "reason": "no space"}
    left = error_data(SPECIAL["CleanupError"])["leftovers"]
    assert [x["until"] for x in left] == [None, "2026-11-25T21:40:00Z"]


def test_an_error_without_why_and_do_is_one_line(capsys):
    """No empty headings."""
    report(GpuforgeError("it broke"))

    assert capsys.readouterr().err == "error: it broke\n"


def test_text_of_others_cannot_rewrite_the_screen(capsys):
    """A machine's words are shown, not obeyed."""
    report(GpuforgeError("bad \x1b[2J", details="x\x1b]0;t\x07", resolution="y\x1b"))

    assert "\x1b" not in capsys.readouterr().err


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_a_bug_leaves_a_crash_file_and_no_traceback(capsys, gpuforge_home):
    """Exit 70: it says that it is our fault, and where the traceback is."""
    code = run_and_report(failing(ZeroDivisionError("oh")), [])

    crash = gpuforge_home / "state" / "crash.txt"
    assert code == 70
    assert capsys.readouterr().err == (
        "error: gpuforge itself failed: ZeroDivisionError: oh\n"
        f"  why  this is a bug; its traceback is in {crash}\n"
        "  do   gpuforge gc      finishes what this command began\n"
        "       then report that file\n"
    )
    assert "Traceback" in crash.read_text()


def test_a_bug_without_a_place_for_its_file_shows_it(capsys, gpuforge_home):
    """The traceback is not lost."""
    (gpuforge_home / "state").write_text("a file in the way")

    assert run_and_report(failing(ZeroDivisionError("oh")), []) == 70

    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "in the lines above" in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_this_computer_refuses_is_no_bug(number, capsys):
    """A full disk says so, exit 72."""
    code = run_and_report(failing(OSError(number, "No room", "/x/journal")), [])

    assert code == 72
    assert capsys.readouterr().err.startswith("error: this computer refused: /x/journal: No room\n  do ")


def test_another_failure_of_the_system_is_a_bug(capsys, gpuforge_home):
    """Only known ones are the user's to mend."""
    assert run_and_report(failing(OSError(errno.EBADF, "Bad file descriptor")), []) == 70


def test_an_interrupt_says_what_goes_on(capsys):
    """Exit 130, and the two commands that help."""
    code = run_and_report(failing(KeyboardInterrupt()), [])

    assert code == 130
    err = capsys.readouterr().err
    assert "interrupted\n  why " in err
    assert "gpuforge gc " in err


def test_an_interrupt_is_a_document_with_json(capsys):
    """Stdout is never left without one."""
    command = failing(KeyboardInterrupt())
    command.params.append(click.Option(["--json", "as_json"], is_flag=True, expose_value=False))

    code = run_and_report(command, ["--json"])

    assert code == 130
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "interrupted"
    assert captured.err.strip() == ""


def test_without_a_terminal_nobody_echoed_the_interrupt(monkeypatch):
    """Lines begin where they begin."""
    assert echoed() == ""


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["lauch"], "gpuforge has no verb 'lauch'; did you mean 'launch'?\n  do   gpuforge run\n"),
        (["stats"], "gpuforge has no verb 'stats'; did you mean 'status'?\n  do   gpuforge status\n"),
        (["launch"], "gpuforge has no verb 'launch'; what it means is here\n  do   gpuforge run\n"),
        (["exec"], ("gpuforge has no verb 'exec'; what it means is here\n"
                   "  do   gpuforge run -c CLUSTER -- COMMAND\n")),
        (["zzz"], "gpuforge has no verb 'zzz'\n  do   gpuforge --help\n"),
        (["status", "--jsn"], ("gpuforge status has no option --jsn; did you mean --json?\n"
                              "  do   gpuforge status --help\n")),
        (["run", "--zzz"], "gpuforge run has no option --zzz\n  do   gpuforge run --help\n"),
        (["push"], "missing argument 'LOCAL'\n  do   gpuforge push --help\n"),
        (["cancel", "1", "--grace", "x"], ("invalid value for '--grace': 'x' is not a valid integer\n"
                                          "  do   gpuforge cancel --help\n")),
    ],
)  # fmt: skip
def test_mistakes_in_a_command_line_say_what_was_meant(argv, text, gpuforge):
    """Exit 64."""
    result = gpuforge(*argv)

    assert result.code == 64
    assert result.err == f"error: {text}"
    assert result.out == ""


@pytest.mark.parametrize("form", [["--json"], ["-o", "json"], ["-ojson"]])
def test_a_usage_error_is_a_document_where_one_was_asked_for(form, gpuforge):
    """However it was asked."""
    result = gpuforge("jobs", "--nope", *form)

    assert result.code == 64
    assert result.document["error"]["exit_code"] == 64
    assert result.err == ""


def test_a_commands_own_json_option_is_not_ours(gpuforge, here):
    """What stands behind -- belongs to the command."""
    result = gpuforge("run", "--", "x", "--json")

    assert result.code == 66
    assert result.out == ""
    assert "no cluster is up" in result.err


def test_the_reader_that_went_away_is_no_error():
    """Exit 141 by the group, as SIGPIPE would."""
    group = type(cli)(name="x")
    group.add_command(failing(BrokenPipeError()), "boom")
    group.get_command = lambda _context, name: group.commands[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "forget_stdout", lambda: None)
        assert run_and_report(group, ["boom"]) == 141

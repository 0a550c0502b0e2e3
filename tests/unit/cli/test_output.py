"""Results go to stdout, everything else to stderr; secrets go nowhere."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from gpuforge.cli.output import Output, printable
from gpuforge.models.progress import Step
from gpuforge.redact import register


@pytest.fixture
def out() -> Output:
    return Output()


def test_results_and_words_for_people_go_separate_ways(out, capsys):
    """A pipe gets the answer alone."""
    out.result("answer")
    out.line("by the way")
    out.lines(["a", "b"])
    out.ask("sure? ")

    captured = capsys.readouterr()
    assert captured.out == "answer\n"
    assert captured.err == "by the way\na\nb\nsure? "


def test_warnings_are_lines_and_members_of_the_envelope(out, capsys):
    """Without a terminal they are seen all the same."""
    out.warn("disk is small")
    out.data({"a": 1})

    captured = capsys.readouterr()
    assert captured.err == "warning: disk is small\n"
    assert json.loads(captured.out) == {
        "schema": "gpuforge/1", "ok": True, "data": {"a": 1}, "warnings": ["disk is small"], "error": None,
    }  # fmt: skip


def test_a_new_command_line_begins_without_the_last_ones_warnings(out, capsys):
    """One process may run several."""
    out.warn("old")

    out.begin(as_json=True)
    out.failure({"code": "spec"}, data=[1])

    document = json.loads(capsys.readouterr().out)
    assert (document["warnings"], document["ok"], document["data"]) == ([], False, [1])


def test_secrets_are_masked_wherever_they_would_show(out, capsys):
    """Lines, results, warnings, documents and events."""
    secret = uuid4().hex
    register(secret)

    out.result(secret)
    out.line(secret)
    out.warn(secret)
    out.ask(secret)
    out.data({"x": secret})
    out.event({"event": "log", "text": secret})

    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err
    assert captured.out.count("***") == 4  # the result, the data, the warning in it, the event
    assert out.warnings == ["***"]


def test_jobs_bytes_pass_untouched(out, capfdbinary):
    """Carriage returns, colours and what is no text at all."""
    data = b"\x1b[31m50 %\r100 %\xff\xfe\n"

    out.raw(data)
    out.raw(b"")

    assert capfdbinary.readouterr().out == data


def test_events_are_for_machines_only(out, capsys):
    """People get lines of another kind."""
    out.event_if_json({"event": "job"})
    out.begin(as_json=True)
    out.event_if_json({"event": "job"})

    assert capsys.readouterr().out == '{"schema": "gpuforge/1", "event": "job"}\n'


def test_steps_are_silent_with_json(out, capsys):
    """Stdout holds the document, stderr what a person must know."""
    out.begin(as_json=True)

    out.step(Step(key="ssh", text="pinned", done=True))

    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_tables_reach_a_pipe_whole(out, capsys):
    """No width, no cut, no colour."""
    out.table(("A", "B"), [("1", "x" * 300)])

    assert capsys.readouterr().out == f"A  B\n1  {'x' * 300}\n"


def test_colours_respect_no_color_and_dumb_terminals(out, monkeypatch):
    """The variables decide; click takes colours away where there is no terminal."""
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert out.paint("x", "red") == "\x1b[31mx\x1b[0m"
    assert out.paint("x", "dim") == "\x1b[2mx\x1b[0m"

    monkeypatch.setenv("TERM", "dumb")
    assert out.paint("x", "red") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert out.paint("x", "red") == "x"


def test_text_from_elsewhere_cannot_rewrite_the_screen():
    """Control characters show as what they are."""
    assert printable("a\x1b[2Jb\r\x07\nc\t☃") == "a\\x1b[2Jb\\r\\x07\nc\t☃"


def test_a_terminal_gets_colour_and_a_pipe_does_not(terminal, process, no_machines):
    """The same command both ways."""
    shown = terminal("doctor", env={"NO_COLOR": "", "TERM": "xterm"})
    piped = process("doctor", env={"NO_COLOR": "", "TERM": "xterm"}).communicate()[0]

    assert "\x1b[32m✓\x1b[0m" in shown.out
    assert b"\x1b" not in piped


def test_a_stream_without_unicode_gets_plain_signs(process, no_machines):
    """No failure, and it still reads."""
    child = process("doctor", env={"PYTHONIOENCODING": "ascii"})

    out, _ = child.communicate()

    assert child.returncode == 0
    assert out.decode("ascii").startswith("  ok settings")


def test_tables_are_cut_to_the_terminal(terminal, no_machines):
    """Lines do not wrap."""
    result = terminal("gpus", width=60)

    assert max(len(line) for line in result.out.splitlines()) <= 60
    assert "…" in result.out


def test_a_secret_that_is_also_a_key_masks_values_alone(capsys):
    """A document keeps its shape whatever a secret says."""
    register("brief")
    Output().failure({"brief": "the brief word", "rows": [("brief", 1)]})
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == {"brief": "the *** word", "rows": [["***", 1]]}

"""What every transport does, over real SSH servers.

Inherit :class:`TransportContract` and name the engine and the server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

from gpuforge.errors import AuthError, CommandError, ConnectError, HostKeyError
from gpuforge.testing.relay import Relay
from gpuforge.testing.sshd import SSHServer, serve
from gpuforge.transport import files, ssh
from gpuforge.transport.keys import ensure_key, fingerprint, parse_host_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuforge.transport.base import Endpoint, RemoteProcess, Transport

__all__ = ["HOSTILE", "TransportContract"]

HOSTILE = (
    "",
    "two words",
    "it's",
    'a "quote"',
    "line\nbreak\n",
    "; touch /tmp/gpuforge-escaped",
    "$(touch gpuforge-escaped)",
    "`touch gpuforge-escaped`",
    "a && b || c > d < e | f & g",
    "*?[x]{a,b}~!#%^=",
    "-n",
    "--",
    "back\\slash\\",
    "tab\there",
    "Grüße, 你好, 🚀",
)
_PATIENCE_SECONDS = 20.0


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


class TransportContract:
    """One engine against one server."""

    engine: ClassVar[Literal["openssh", "paramiko"]]
    server_kind: ClassVar[Literal["openssh", "asyncssh"]]

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
        """The server; all tests of the class share it."""
        with serve(cls.server_kind, tmp_path_factory.mktemp("ssh server") / "it's") as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def control_dir(cls) -> Iterator[Path]:
        """A short path, whatever pytest's own folder is."""
        folder = Path(tempfile.mkdtemp(prefix="gf-"))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    @pytest.fixture(scope="class")
    @classmethod
    def transport(
        cls, server: SSHServer, control_dir: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Transport]:
        """A connection that all harmless tests share."""
        endpoint = server.endpoint(tmp_path_factory.mktemp('a cluster; "x" %d') / "é")
        with cls.connected(endpoint, control_dir) as transport:
            yield transport

    @pytest.fixture
    def endpoint(self, server: SSHServer, tmp_path: Path) -> Endpoint:
        """A node of its own for tests that break something."""
        return server.endpoint(tmp_path / "cluster")

    @classmethod
    @contextlib.contextmanager
    def connected(
        cls, endpoint: Endpoint, control_dir: Path, *, timeout_seconds: float = 20
    ) -> Iterator[Transport]:
        """A transport to ``endpoint``, with nothing left behind."""
        files.write_cluster_files(endpoint.folder, [endpoint], control_dir=control_dir)
        try:
            transport = ssh.connect(
                endpoint, control_dir=control_dir, engine=cls.engine, timeout_seconds=timeout_seconds
            )
            try:
                yield transport
            finally:
                transport.close()
        finally:
            files.close_masters(endpoint.folder, control_dir=control_dir)

    def test_a_command_gets_exactly_its_arguments(self, transport: Transport, server: SSHServer) -> None:
        """No value is split, expanded or run by a shell on the way."""
        done = transport.run(["sh", "-c", 'printf "%s\\0" "$@"', "sh", *HOSTILE])
        assert done.stdout.decode() == "".join(f"{value}\0" for value in HOSTILE)
        assert done.exit_code == 0
        assert not (server.home / "gpuforge-escaped").exists()

    def test_a_program_may_have_any_name(self, transport: Transport, server: SSHServer) -> None:
        """Words of the shell are names of programs like any other."""
        for name in ("if", "A=b", "two words;é"):
            program = server.home / name
            program.write_text(f"#!/bin/sh\necho 'ran {name}'\n")
            program.chmod(0o755)
            assert transport.run([f"./{name}"]).stdout.decode() == f"ran {name}\n"
        assert transport.run(["if"]).exit_code == 127

    def test_commands_start_in_the_home(self, transport: Transport, server: SSHServer) -> None:
        """Relative paths on the node mean its home."""
        done = transport.run(["sh", "-c", 'pwd -P; printf %s "$HOME"'])
        assert done.stdout.decode().split("\n") == [str(server.home.resolve()), str(server.home)]

    @pytest.mark.parametrize("code", [0, 1, 126, 254, 255])
    def test_the_exit_code_is_the_commands_own(self, transport: Transport, code: int) -> None:
        """255 included, which the ``ssh`` program also uses for its own failures."""
        done = transport.run(["sh", "-c", f"echo out; echo err >&2; exit {code}"])
        assert (done.exit_code, done.stdout, done.stderr) == (code, b"out\n", b"err\n")

    def test_a_death_by_signal_is_128_and_the_signal(self, transport: Transport) -> None:
        """As a shell on the node would say."""
        assert transport.run(["sh", "-c", "kill -KILL $$"]).exit_code == 137
        assert transport.run(["sh", "-c", "kill -TERM $$"]).exit_code == 143

    def test_a_program_that_is_not_there_is_127(self, transport: Transport) -> None:
        """With the shell's words on stderr."""
        done = transport.run(["gpuforge-no-such-program"])
        assert done.exit_code == 127
        assert b"not found" in done.stderr

    def test_what_no_node_can_run_is_refused(self, transport: Transport) -> None:
        """Nothing is sent for an empty command, a NUL, or one that is too long."""
        for argv in ([], [""], ["echo", "a\0b"], ["echo", "x" * 200_000]):
            with pytest.raises(CommandError):
                transport.run(argv)

    def test_many_commands_at_once_lose_nothing(self, transport: Transport) -> None:
        """200 of them from 20 threads, each with its own words and exit code."""

        def one(number: int) -> tuple[int, bytes]:
            done = transport.run(
                ["sh", "-c", f'read word; echo "$word {number}"; exit {number % 7}'], stdin=b"in\n"
            )
            return done.exit_code, done.stdout

        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(one, range(200)))
        assert results == [(number % 7, f"in {number}\n".encode()) for number in range(200)]

    def test_twenty_megabytes_go_in_and_out(self, transport: Transport) -> None:
        """Byte for byte, both ways at once."""
        data = os.urandom(20 * 1024 * 1024)
        done = transport.run(["cat"], stdin=data)
        assert done.exit_code == 0
        assert done.stdout == data

    def test_a_command_need_not_read_its_stdin(self, transport: Transport) -> None:
        """The connection stays whole when it ends before all was sent."""
        for _ in range(10):
            assert transport.run(["sh", "-c", "exit 3"], stdin=b"x" * 300_000).exit_code == 3
        assert transport.run(["echo", "still here"]).stdout == b"still here\n"

    def test_both_outputs_may_be_large(self, transport: Transport) -> None:
        """Neither blocks the other."""
        script = "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; head -c 1000 /dev/zero >&2"
        done = transport.run(["sh", "-c", script])
        assert (len(done.stdout), len(done.stderr)) == (3_000_000, 3_001_000)

    def test_a_command_that_is_too_slow_is_given_up(self, transport: Transport) -> None:
        """And the next one runs."""
        with pytest.raises(ConnectError):
            transport.run(["sleep", "30"], timeout_seconds=0.5)
        assert transport.run(["echo", "next"]).stdout == b"next\n"

    def test_a_stream_is_a_conversation(self, transport: Transport) -> None:
        """What is written arrives at once, and so does the answer."""
        with transport.stream(["cat"]) as process:
            for word in (b"one\n", b"two\n"):
                process.write(word)
                assert process.read(100) == word
            process.close_stdin()
            assert process.read(100) == b""
            assert process.wait(10) == 0

    def test_a_stream_gives_lines_the_tail_of_stderr_and_the_exit_code(self, transport: Transport) -> None:
        """A chatty stderr neither blocks the command nor fills memory."""
        script = "head -c 2000000 /dev/zero >&2; printf 'last words' >&2; printf 'a\\n\\nb c\\nend'; exit 255"
        with transport.stream(["sh", "-c", script]) as process:
            process.close_stdin()
            assert list(process.lines()) == [b"a\n", b"\n", b"b c\n", b"end"]
            assert process.wait(10) == 255
            assert process.wait(10) == 255
            tail = process.stderr_tail()
        assert len(tail) == 16 * 1024
        assert tail.endswith(b"last words")

    def test_a_stream_carries_megabytes_each_way(self, transport: Transport) -> None:
        """With the writer in a thread, as a sync does."""
        data = os.urandom(4 * 1024 * 1024)
        with transport.stream(["cat"]) as process:

            def feed() -> None:
                for start in range(0, len(data), 512 * 1024):
                    process.write(data[start : start + 512 * 1024])
                process.close_stdin()

            feeder = threading.Thread(target=feed)
            feeder.start()
            received = b"".join(iter(lambda: process.read(1024 * 1024), b""))
            feeder.join()
            assert process.wait(10) == 0
        assert received == data

    def test_closing_a_stream_ends_its_command(self, transport: Transport) -> None:
        """A command that goes on writing meets a broken pipe."""
        with transport.stream(["sh", "-c", "echo $$; exec yes"]) as process:
            pid = int(next(process.lines()))
        _until(lambda: not _is_alive(pid), "the end of `yes`")

    def test_a_write_to_a_command_that_ended_is_a_connect_error(self, transport: Transport) -> None:
        """Never a hang, never a signal."""
        with transport.stream(["true"]) as process:
            assert process.wait(10) == 0
            with pytest.raises(ConnectError):
                _write_for_ever(process)

    def test_waiting_for_a_stream_ends_with_its_time(self, transport: Transport) -> None:
        """And may be repeated."""
        with transport.stream(["sh", "-c", "read line; exit 4"]) as process:
            with pytest.raises(ConnectError):
                process.wait(0.2)
            process.write(b"go\n")
            assert process.wait(10) == 4

    def test_a_detached_child_does_not_hold_the_command(self, transport: Transport) -> None:
        """And lives on after the channel."""
        script = "setsid sleep 300 < /dev/null > /dev/null 2>&1 & echo $!"
        with transport.stream(["sh", "-c", script]) as process:
            process.close_stdin()
            pid = int(b"".join(process.lines()))
            assert process.wait(10) == 0
        try:
            assert transport.run(["sh", "-c", script.replace("echo $!", "kill $!; exit 5")]).exit_code == 5
            assert _is_alive(pid)
        finally:
            os.kill(pid, 15)

    def test_more_streams_than_a_connection_allows(self, transport: Transport) -> None:
        """A server's limit of ten sessions per connection is not the caller's problem."""
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(transport.stream(["cat"])) for _ in range(14)]
            for number, process in enumerate(streams):
                process.write(b"%d\n" % number)
            assert [process.read(100) for process in streams] == [b"%d\n" % number for number in range(14)]
            assert transport.run(["echo", "short"]).stdout == b"short\n"
            for process in streams:
                process.close_stdin()
                assert process.wait(10) == 0

    @pytest.mark.parametrize("name", ["plain", "new folder/it's; $(x)/Grüße", "-rf", "line\nbreak"])
    def test_put_writes_a_file(self, transport: Transport, server: SSHServer, name: str) -> None:
        """Under the home, with its folders, its mode and exactly its bytes."""
        for data, mode in ((os.urandom(300_000), 0o600), (b"", 0o755), (b"short", 0o640)):
            transport.put(data, name, mode=mode)
            target = server.home / name
            assert target.read_bytes() == data
            assert target.stat().st_mode & 0o7777 == mode
            assert [entry.name for entry in target.parent.glob(".gpuforge-put*")] == []

    def test_put_takes_an_absolute_path(self, transport: Transport, tmp_path: Path) -> None:
        """As it stands."""
        transport.put(b"here", str(tmp_path / "absolute"))
        assert (tmp_path / "absolute").read_bytes() == b"here"

    def test_put_where_nothing_can_be_written_leaves_all_as_it_was(
        self, transport: Transport, server: SSHServer
    ) -> None:
        """A folder in its place, or a file where a folder should be."""
        (server.home / "taken").mkdir(exist_ok=True)
        (server.home / "file").write_bytes(b"old")
        for name in ("taken", "file/below", "", "folder/"):
            with pytest.raises(CommandError):
                transport.put(b"data", name)
        assert list((server.home / "taken").iterdir()) == []
        assert (server.home / "file").read_bytes() == b"old"

    def test_a_forward_leads_to_a_port_of_the_node(self, transport: Transport) -> None:
        """Several connections at once, each until its own end; half-closed ones too."""
        with _echo_server() as (host, port), transport.forward(host, port) as local:

            def one(number: int) -> bytes:
                with socket.create_connection(local, timeout=20) as client:
                    client.sendall(b"%d" % number * 100_000)
                    client.shutdown(socket.SHUT_WR)
                    return b"".join(iter(lambda: client.recv(65536), b""))

            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(one, range(8))) == [b"%d" % n * 100_000 + b"." for n in range(8)]
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(local, timeout=5)

    def test_a_forward_to_a_closed_port_closes_the_connection(self, transport: Transport) -> None:
        """As the port itself would."""
        with (
            transport.forward("127.0.0.1", _closed_port()) as local,
            socket.create_connection(local, timeout=20) as client,
            contextlib.suppress(ConnectionError),
        ):
            assert client.recv(100) == b""

    def test_a_wrong_host_key_ends_before_anything_is_sent(
        self, server: SSHServer, control_dir: Path, tmp_path: Path
    ) -> None:
        """No authentication request and no byte of a command reaches the impostor."""
        other = parse_host_key(ensure_key(tmp_path / "other"))
        with Relay((server.host, server.port)) as relay:
            route = replace(server.route, host=relay.address[0], port=relay.address[1])
            endpoint = server.endpoint(tmp_path / "cluster", route=route, host_key=other)
            before = server.log.count("userauth-request")
            with pytest.raises(HostKeyError) as caught, self.connected(endpoint, control_dir):
                pass
            assert relay.accepted == 1
        assert server.log.count("userauth-request") == before
        assert fingerprint(other) in caught.value.details
        assert fingerprint(server.host_key) in caught.value.details
        assert "nothing was sent" in caught.value.brief

    def test_a_key_the_node_does_not_know_is_an_auth_error(
        self, server: SSHServer, control_dir: Path, tmp_path: Path
    ) -> None:
        """Not a reason to try again."""
        endpoint = server.endpoint(tmp_path / "cluster")
        stranger = replace(endpoint, folder=tmp_path / "stranger")
        ensure_key(stranger.folder)
        with pytest.raises(AuthError), self.connected(stranger, control_dir):
            pass

    def test_a_closed_port_is_a_connect_error(self, endpoint: Endpoint, control_dir: Path) -> None:
        """With the reason in its details."""
        closed = replace(endpoint, route=replace(endpoint.route, port=_closed_port()))
        with pytest.raises(ConnectError, match="refused"), self.connected(closed, control_dir):
            pass

    def test_a_node_that_hangs_is_a_connect_error_in_time(
        self, server: SSHServer, endpoint: Endpoint, control_dir: Path
    ) -> None:
        """Its port is open and nobody answers, before and after the connection is made."""
        with (
            server.frozen(),
            pytest.raises(ConnectError),
            self.connected(endpoint, control_dir, timeout_seconds=1),
        ):
            pass
        with self.connected(endpoint, control_dir) as transport:
            with server.frozen(), pytest.raises(ConnectError):
                transport.run(["true"], timeout_seconds=1)
            assert transport.run(["echo", "awake"]).stdout == b"awake\n"

    def test_a_broken_connection_is_replaced_before_the_next_command(
        self, server: SSHServer, control_dir: Path, tmp_path: Path
    ) -> None:
        """And what ran on it when it broke is a connect error."""
        with Relay((server.host, server.port)) as relay:
            route = replace(server.route, host=relay.address[0], port=relay.address[1])
            endpoint = server.endpoint(tmp_path / "cluster", route=route)
            with self.connected(endpoint, control_dir) as transport:
                with transport.stream(["sh", "-c", "echo started; read line"]) as process:
                    assert process.read(100) == b"started\n"
                    relay.sever()
                    with pytest.raises(ConnectError):
                        process.wait(20)
                    assert process.read(100) == b""
                assert transport.run(["echo", "back"]).stdout == b"back\n"

    def test_a_proxy_command_is_the_way_to_the_node(
        self, server: SSHServer, control_dir: Path, tmp_path: Path
    ) -> None:
        """Its pipes are the connection; the address is never dialled."""
        program = tmp_path / "it's a proxy %h"
        program.write_text(
            f"#!/bin/bash\nexec 3<>/dev/tcp/{server.host}/{server.port}\ncat <&3 &\nexec cat >&3\n"
        )
        program.chmod(0o755)
        route = replace(server.route, host="192.0.2.1", port=1, proxy_command=(str(program), "100%"))
        endpoint = server.endpoint(tmp_path / "cluster", route=route)
        with self.connected(endpoint, control_dir) as transport:
            assert transport.run(["echo", "through"]).stdout == b"through\n"

    def test_closing_twice_is_closing_once(self, endpoint: Endpoint, control_dir: Path) -> None:
        """Tear-down may come from two places."""
        with self.connected(endpoint, control_dir) as transport:
            transport.close()
            transport.close()


def _write_for_ever(process: RemoteProcess) -> None:
    while True:
        process.write(b"x" * 65536)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def _echo_server() -> Iterator[tuple[str, int]]:
    """Answers, after the client's end, with what it got and a full stop."""

    def answer(client: socket.socket) -> None:
        with client:
            data = b"".join(iter(lambda: client.recv(65536), b""))
            client.sendall(data + b".")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

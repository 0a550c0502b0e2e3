"""Who is let in; what the server does with commands is shown over real clients in tests/simulated."""

from __future__ import annotations

import asyncio
import socket

import asyncssh
import pytest

from gpuforge.simcloud.machines.children import Children
from gpuforge.simcloud.machines.sshd_asyncssh import AsyncSSHServer


def _server(tmp_path, *keys):
    lines = tuple(key.export_public_key().decode() for key in keys)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    environ = {"PATH": "/usr/bin:/bin", "GPUFORGE_HOST": "127.0.0.1"}
    return AsyncSSHServer(
        user="ubuntu",
        public_keys=lines,
        host_key=host_key,
        environ=environ,
        home=tmp_path / "home",
        folder=tmp_path,
        children=Children(),
    )


def _with_client(tmp_path, use):
    """Run ``use(connection)`` against a server on a port of its own."""

    async def run():
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = _server(tmp_path, key)
        sock = socket.create_server(("127.0.0.1", 0))
        await server.listen(sock)
        try:
            connection = await asyncssh.connect(
                "127.0.0.1",
                sock.getsockname()[1],
                username="ubuntu",
                client_keys=[key],
                known_hosts=([server._host_key.convert_to_public()], [], []),
                config=None,
                agent_path=None,
            )
            async with connection:
                return await use(connection)
        finally:
            server.close()
            server.children.close()

    return asyncio.run(run())


def test_only_the_named_user_with_a_listed_key_is_admitted(tmp_path):
    async def run():
        key, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        server = _server(tmp_path, key)
        server.children.close()
        return [
            server.admits("ubuntu", key.convert_to_public()),
            server.admits("root", key.convert_to_public()),
            server.admits("ubuntu", other.convert_to_public()),
        ]

    assert asyncio.run(run()) == [True, False, False]


def test_a_home_that_was_removed_is_there_again(tmp_path):
    async def use(connection):
        return await connection.run("pwd")

    done = _with_client(tmp_path, use)
    assert done.stdout.strip() == str(tmp_path / "home")


def test_a_signal_reaches_the_command(tmp_path):
    async def use(connection):
        process = await connection.create_process(
            "trap 'echo got it; exit 8' USR1; echo up; while :; do sleep 0.05; done"
        )
        await process.stdout.readline()
        process.send_signal("USR1")
        process.send_signal("NONSENSE")
        process.send_break(10)
        return await process.wait()

    done = _with_client(tmp_path, use)
    assert (done.stdout, done.exit_status) == ("got it\n", 8)


def test_a_command_that_ends_by_a_signal_says_which(tmp_path):
    async def use(connection):
        return await connection.run("kill -TERM $$")

    assert _with_client(tmp_path, use).exit_signal[0] == "TERM"


def test_an_unknown_subsystem_is_refused(tmp_path):
    async def use(connection):
        return await connection.run(subsystem="netconf")

    done = _with_client(tmp_path, use)
    assert done.exit_status == 127
    assert "netconf" in done.stderr


def test_a_command_that_cannot_be_started_is_an_exit_code(tmp_path):
    (tmp_path / "home").mkdir()

    async def use(connection):
        return await connection.run("x" * 200_000)  # longer than one argument may be

    done = _with_client(tmp_path, use)
    assert done.exit_status == 255
    assert "cannot start" in done.stderr


@pytest.mark.parametrize("path", ["/run/docker.sock", "/nowhere/s"])
def test_sockets_of_the_host_stay_closed(tmp_path, path):
    async def use(connection):
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_unix_connection(path)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.start_unix_server(lambda _reader, _writer: None, path)
        return True

    assert _with_client(tmp_path, use)

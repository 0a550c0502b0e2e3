"""The serial console keeps one line per thing said, and its tail explains a failed boot."""

from __future__ import annotations

from gpuforge.simcloud.machines.console import Console, boot_lines, gpu_lines, tail
from gpuforge.testing.machines import machine_spec


def test_lines_carry_time_since_boot_or_the_wall_clock(tmp_path, manual_clock):
    console = Console(tmp_path, "gf-x", manual_clock)
    manual_clock.advance(1.5)
    console.kernel("hello")
    console.service("sshd", "two\nlines\r")
    console.plain("plain")
    console.restarted()
    console.kernel("again")
    assert tail(tmp_path).splitlines() == [
        "[    1.500000] hello",
        "Jan 01 00:00:01 gf-x sshd: two lines ",
        "plain",
        "[    0.000000] again",
    ]


def test_the_tail_is_empty_before_anything_was_said_and_short_after(tmp_path, manual_clock):
    assert tail(tmp_path) == ""
    console = Console(tmp_path, "gf-x", manual_clock)
    for number in range(50):
        console.plain(str(number))
    assert tail(tmp_path, lines=3).splitlines() == ["47", "48", "49"]


def test_a_console_does_not_grow_without_end(tmp_path, manual_clock):
    (tmp_path / "console.log").write_bytes(b"x" * ((1 << 20) + 1))
    Console(tmp_path, "gf-x", manual_clock).plain("new")
    assert (tmp_path / "console.log").read_text() == "new\n"


def test_the_shape_is_told_and_capped_gpus_are_said(tmp_path):
    spec = machine_spec(tmp_path, public_key="k", accelerator=("A100", 40, 8), spot=True)
    assert "pytorch-2-9-cu129" in boot_lines(spec)[0]
    assert gpu_lines(spec, 2) == [
        "8 x NVIDIA A100 (40 GiB): reported by nvidia-smi, computed on the CPU",
        "GPUs capped: 2 ranks of 8 per node, as many as this host has cores",
    ]
    assert len(gpu_lines(spec, 8)) == 1
    plain = machine_spec(tmp_path, public_key="k", accelerator=None)
    assert gpu_lines(plain, 2) == []
    assert not any("nvidia" in line for line in boot_lines(plain))

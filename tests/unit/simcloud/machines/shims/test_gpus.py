"""nvidia-smi of a simulated machine prints what the real one would."""

from __future__ import annotations

import json

import pytest

from gpuforge.simcloud.machines.shims import gpus

_L4 = {"instance_id": "1", "accelerator": ["L4", 24, 2], "driver": "580", "cuda": "12.9"}


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the program on a machine: (exit code, output)."""
    monkeypatch.setenv("GPUFORGE_MACHINE_ROOT", str(tmp_path))

    def run(machine, *words):
        if machine is not None:
            (tmp_path / "machine.json").write_text(json.dumps(machine))
        code = gpus.main(list(words))
        return code, capsys.readouterr().out

    return run


def test_the_list_names_each_gpu_with_a_stable_id(ask):
    code, text = ask(_L4, "-L")
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith("GPU 0: NVIDIA L4 (UUID: GPU-")
    assert lines[1].startswith("GPU 1: NVIDIA L4 (UUID: GPU-")
    assert lines[0] != lines[1]
    assert ask(_L4, "--list-gpus") == (code, text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--query-gpu=name,memory.total", "--format=csv"],
            "name, memory.total [MiB]\nNVIDIA L4, 23034 MiB\nNVIDIA L4, 23034 MiB\n",
        ),
        (
            ["--query-gpu=index,utilization.gpu,power.draw", "--format=csv,noheader"],
            "0, 0 %, 16.00 W\n1, 0 %, 16.00 W\n",
        ),
        (
            ["--query-gpu=count,memory.total,driver_version", "--format=csv,noheader,nounits", "-i", "1"],
            "1, 23034, 580.95.05\n",
        ),
        (
            ["--query-gpu", "mig.mode.current,memory.used", "--format", "csv,nounits", "--id=0"],
            "mig.mode.current, memory.used\n[N/A], 0\n",
        ),
        (["--query-compute-apps=pid", "--format=csv,noheader"], ""),
        (["--query-compute-apps=pid", "--format=csv"], "no running processes\n"),
    ],
)
def test_queries_are_answered_in_csv(ask, words, text):
    assert ask(_L4, *words) == (0, text)


def test_an_unknown_field_is_refused_as_by_the_real_program(ask):
    code, text = ask(_L4, "--query-gpu=name,colour", "--format=csv")
    assert code == 2
    assert text.startswith('Field "colour" is not a valid field to query.')


def test_the_table_has_a_row_per_gpu_and_straight_edges(ask):
    code, text = ask(_L4)
    assert code == 0
    assert text.count("NVIDIA L4") == 2
    boxed = [line for line in text.splitlines() if line.startswith(("|", "+"))]
    assert {len(line) for line in boxed} == {91}
    assert "CUDA Version: 12.9" in text


@pytest.mark.parametrize("machine", [None, {"accelerator": None}])
def test_without_a_gpu_it_fails_as_the_real_program_without_a_driver(ask, machine):
    code, text = ask(machine)
    assert code == 9
    assert "couldn't communicate with the NVIDIA driver" in text


def test_a_gpu_that_is_not_there_is_not_found(ask):
    assert ask(_L4, "-i", "7") == (6, "No devices were found\n")


def test_an_unknown_model_keeps_its_name_and_memory(ask):
    machine = {"accelerator": ["X9", 10, 1], "driver": "", "cuda": ""}
    words = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    assert ask(machine, *words) == (0, "NVIDIA X9, 10240\n")


def test_what_is_not_simulated_is_said(ask):
    code, text = ask(_L4, "-q", "-x")
    assert code == 2
    assert "--query-gpu" in text

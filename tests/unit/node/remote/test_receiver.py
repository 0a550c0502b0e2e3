"""The node's end of a copy against a client that lies, breaks off or speaks nonsense; and its wire format."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.node.remote import receiver
from gpuforge.node.remote.receiver import (
    Entry,
    GoneError,
    Incoming,
    RefusedError,
    Tree,
    check_name,
    clashes,
    decode,
    encode,
    encode_both,
    expand,
    failed_row,
    frame,
    load_record,
    make,
    message,
    pack,
    read_ahead,
    read_frame,
    save_record,
    size_text,
    tree_digest,
    unpack,
)

SMALL = receiver._SMALL


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def tree(home):
    found = Tree(os.open(home, os.O_RDONLY))
    yield found
    found.close()


@pytest.fixture
def serve(home):
    """Feed frames to a receiver, get its exit code and its answers."""

    def call(*frames: bytes):
        target = io.BytesIO()
        code = receiver.Receiver(io.BytesIO(b"".join(frames)), target, str(home)).serve()
        source, answers = io.BytesIO(target.getvalue()), []
        while (answer := read_frame(source))[0]:
            answers.append(answer)
        return code, answers

    return call


def hello(op: str = "push", **named) -> bytes:
    head = {"version": 1, "op": op, "root": "workdir", "state": "", "manifest": True}
    return message(b"H", {**head, **named})


def manifest(*entries: Entry) -> bytes:
    return frame(b"M", pack(encode(entries)))


def orders(delete=(), make=()) -> bytes:
    return message(b"P", {"delete": list(delete), "make": list(make)})


def small(index: int, data: bytes, digest: bytes | None = None) -> bytes:
    raw = digest or blake2b(data, digest_size=16).digest()
    return frame(b"F", SMALL.pack(index, 0o644, 5, len(data), raw) + data)


def rows(answers) -> list:
    return [json.loads(payload) for kind, payload in answers if kind == b"R"]


def reason(answers) -> str:
    kind, payload = answers[-1]
    assert kind == b"!"
    return json.loads(payload)["reason"]


FILE = Entry(b"file", b"f", 0o644, 4, 5)


def test_a_push_by_hand_ends_with_the_receiver_s_own_digest(serve, home):
    held = FILE._replace(extra=blake2b(b"data", digest_size=16).hexdigest().encode())
    finish = message(b"Z", {"tree": tree_digest([held]), "pairs": []})
    code, answers = serve(hello(), manifest(FILE), orders(), small(0, b"data"), finish)
    assert code == 0
    assert [kind for kind, _ in answers] == [b"V", b"O", b"D"]
    assert json.loads(answers[-1][1])["tree"] == tree_digest([held])
    assert (home / "workdir" / "file").read_bytes() == b"data"
    state = receiver.state_digest(encode([FILE]))
    code, answers = serve(hello(manifest=False, state=state))
    assert json.loads(answers[0][1]) == {"same": True, "tree": tree_digest([held])}


@pytest.mark.parametrize("name", [b"../up", b"/etc/x", b"a/../../b", b"a//b", b"./a", b"..", b"a/.", b""])
def test_names_that_leave_are_refused_before_anything_is_written(serve, home, name):
    code, answers = serve(hello(), manifest(FILE._replace(path=name)))
    assert code == 1
    assert "would leave its folder" in reason(answers)
    assert list((home / "workdir").iterdir()) == []
    assert not (home.parent / "up").exists()


def test_deletions_that_leave_are_refused(serve, home):
    (home.parent / "precious").write_text("x")
    code, answers = serve(hello(), manifest(), orders(delete=["../precious"]))
    assert code == 1
    assert "would leave its folder" in reason(answers)
    assert (home.parent / "precious").exists()


@pytest.mark.parametrize("frames", [[b"H\0\0\0\2{}"], [hello(version=2)], [hello("dance")], [frame(b"Q")]])
def test_other_protocols_are_refused(serve, frames):
    code, answers = serve(*frames)
    assert code == 1
    assert "another version" in reason(answers)


def test_an_unexpected_frame_is_refused_and_a_cut_is_not_answered(serve):
    code, answers = serve(hello(), frame(b"Q"))
    assert (code, reason(answers)) == (1, "unexpected frame")
    assert serve(hello()[:-3])[0] == 2
    assert serve(hello(), manifest(FILE), orders())[0] == 2
    assert serve(hello(), manifest(FILE), orders(), small(0, b"data")[:-2])[0] == 2
    assert serve()[0] == 0


def test_damaged_content_never_takes_the_name(serve, home):
    code, answers = serve(
        hello(),
        manifest(FILE),
        orders(),
        small(0, b"data", digest=bytes(16)),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert code == 0
    assert rows(answers) == [["file", "its content arrived damaged"]] or rows(answers)[0][0] == "file"
    assert list((home / "workdir").iterdir()) == []


def test_a_large_file_in_pieces_arrives_and_one_given_up_does_not(serve, home):
    data = os.urandom(3_000_000)
    entries = [Entry(b"big", b"f", 0o640, len(data), 7), Entry(b"given up", b"f", 0o644, 9, 7)]
    begin = receiver._BEGIN
    code, answers = serve(
        hello(),
        manifest(*entries),
        orders(),
        frame(b"B", begin.pack(0, 0o640, 7, len(data))),
        *[frame(b"C", data[at : at + 1_000_000]) for at in range(0, len(data), 1_000_000)],
        frame(b"E", blake2b(data, digest_size=16).digest()),
        frame(b"B", begin.pack(1, 0o644, 7, 9)),
        frame(b"C", b"half"),
        frame(b"X"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert (code, rows(answers)) == (0, [])
    assert (home / "workdir" / "big").read_bytes() == data
    assert [path.name for path in (home / "workdir").iterdir()] == ["big"]


def test_names_the_disk_cannot_hold_are_rows(serve, home):
    long = Entry(b"x" * 256, b"f", 0o644, 4, 5)
    begin = receiver._BEGIN
    code, answers = serve(
        hello(),
        manifest(long, FILE),
        orders(),
        small(0, b"data"),
        frame(b"B", begin.pack(0, 0o644, 7, 9)),
        frame(b"C", b"nine byte"),
        frame(b"E", blake2b(b"nine byte", digest_size=16).digest()),
        small(1, b"data"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    assert code == 0
    assert {why for _, why in rows(answers)} == {"a name the other side cannot hold (File name too long)"}
    assert [path.name for path in (home / "workdir").iterdir()] == ["file"]


def test_two_names_that_are_one_file_there_are_told(tree, home):
    (home / "README").write_text("x")
    os.link(home / "README", home / "readme")  # as a disk that folds case shows them
    (home / "other").write_text("x")
    pairs = [("README", "readme"), ("README", "other"), ("README", "absent")]
    assert list(clashes(tree, pairs)) == [
        ("readme", "a name the other side cannot hold: there it is the same as 'README'")
    ]


def test_a_folder_for_records_that_cannot_be_made_is_said(serve, home):
    (home / ".gpuforge").write_text("not a folder")
    code, answers = serve(hello(), manifest(FILE))
    assert code == 1
    assert "Not a directory" in reason(answers)


@pytest.mark.parametrize("root", ["/etc", "../x", "~/../x", "a/../../x"])
def test_roots_outside_are_refused(serve, root):
    code, answers = serve(hello(root=root))
    assert code == 1
    assert "isolation level 0" in reason(answers)


def test_a_file_where_the_root_must_be_is_refused(serve, home):
    (home / "workdir").write_text("x")
    assert "stands in the way" in reason(serve(hello(), manifest())[1])
    (home / "workdir").unlink()
    assert "No such file" in reason(serve(hello("pull", patterns=["x"]))[1])


def test_the_home_itself_can_be_a_root_by_every_name(serve, home):
    for root in ("~", "~/", "", str(home.resolve())):
        assert serve(hello("pull", root=root, patterns=[]), message(b"Q", {"fetch": [], "same": []}))[0] == 0


def test_a_pull_by_hand_answers_digests_then_files(serve, home):
    (home / "workdir").mkdir()
    (home / "workdir" / "a").write_text("one")
    code, answers = serve(
        hello("pull", patterns=["a", "z"]),
        message(b"Q", {"digest": [0]}),
        message(b"Q", {"fetch": [], "same": [0]}),
    )
    assert code == 0
    assert rows(answers) == [["z", "nothing on the machine matches"]]
    found = dict(answers)
    digest = blake2b(b"one", digest_size=16).hexdigest()
    assert json.loads(found[b"G"]) == {"0": digest}
    (entry,) = decode(unpack(found[b"M"]))
    assert json.loads(found[b"D"])["tree"] == tree_digest([entry._replace(extra=digest.encode())])


def test_frames_that_are_too_long_or_cut_are_not_taken():
    assert read_frame(io.BytesIO()) == (b"", b"")
    with pytest.raises(GoneError):
        read_frame(io.BytesIO(b"F\0"))
    with pytest.raises(GoneError):
        read_frame(io.BytesIO(frame(b"F", b"abc")[:-1]))
    with pytest.raises(RefusedError):
        read_frame(io.BytesIO(b"F\xff\xff\xff\xff"))


def test_reading_ahead_ends_at_the_finish_and_tells_a_cut():
    source = io.BytesIO(frame(b"F", b"1") + frame(b"Z") + frame(b"H"))
    assert [kind for kind, _ in read_ahead(source)] == [b"F", b"Z"]
    assert read_frame(source)[0] == b"H"
    with pytest.raises(GoneError):
        list(read_ahead(io.BytesIO(frame(b"F", b"12")[:-1])))


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(receiver, "_LIMIT", 1000)
    with pytest.raises(RefusedError):
        unpack(pack(bytes(100_000)))


paths = st.lists(
    st.binary(min_size=1, max_size=5).filter(lambda raw: not set(raw) & set(b"\0/")), min_size=1
).map(b"/".join)
entries = st.builds(
    Entry,
    paths,
    st.sampled_from([b"f", b"d", b"l"]),
    st.integers(0, 0o777),
    st.integers(0, 2**50),
    st.integers(-(2**60), 2**60),
    st.sampled_from([b"", b"00ff", b"target"]),
)


@given(st.lists(entries))
def test_what_is_encoded_is_decoded(found):
    assert decode(encode(found, digests=True)) == found
    bare = [entry if entry.kind == b"l" else entry._replace(extra=b"") for entry in found]
    assert decode(encode(found)) == bare
    assert encode_both(found) == (encode(found), encode(found, digests=True))


@given(st.lists(entries, unique_by=lambda entry: entry.path), st.randoms())
def test_the_tree_digest_ignores_order_and_times_and_nothing_else(found, draw):
    digest = tree_digest(found)
    shuffled = [entry._replace(mtime=0) for entry in found]
    draw.shuffle(shuffled)
    assert tree_digest(shuffled) == digest
    if found:
        changed = [found[0]._replace(mode=found[0].mode ^ 0o100), *found[1:]]
        assert tree_digest(changed) != digest
        assert tree_digest(found[1:]) != digest


@given(paths)
def test_ordinary_names_pass(path):
    if not {b".", b".."} & set(path.split(b"/")):
        check_name(path)


def test_deep_and_wide_trees_keep_few_descriptors(tree, home):
    wide = [f"w{index}/x" for index in range(300)]
    deep = "/".join(["d"] * 200)
    for path in (*wide, deep + "/x"):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text("x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts only
    found = tree.look([os.fsencode(path) for path in (*wide, deep + "/x")])
    assert len(found) == 301
    assert len(os.listdir("/proc/self/fd")) - before < 400  # noqa: PTH208


def test_look_does_not_see_through_symlinks(tree, home, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x")
    (home / "link").symlink_to(tmp_path / "outside")
    assert list(tree.look([b"link", b"link/x", b"none/x", b"none/y"])) == [b"link"]


def test_made_links_folders_and_times_replace_what_was(tree, home):
    (home / "link").symlink_to("old")
    (home / "folder").mkdir(mode=0o700)
    (home / "file").write_text("x")
    make(tree, Entry(b"link", b"l", 0, 0, 0, b"new"))
    make(tree, Entry(b"folder", b"d", 0o751, 0, 0))
    make(tree, Entry(b"file", b"f", 0o600, 1, 1_000))
    assert str((home / "link").readlink()) == "new"
    assert (home / "folder").stat().st_mode & 0o777 == 0o751
    assert ((home / "file").stat().st_mode & 0o777, (home / "file").stat().st_mtime_ns) == (0o600, 1_000)


def test_removal_spares_full_folders_and_passes_real_refusals_on(tree, home, monkeypatch):
    (home / "full").mkdir()
    (home / "full" / "x").write_text("x")
    assert not tree.remove(b"full")
    assert not tree.remove(b"absent")
    assert not tree.remove(b"full/x/y")
    assert tree.remove(b"full/x")
    assert tree.remove(b"full")
    (home / "kept").write_text("x")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        tree.remove(b"kept")


def test_a_refused_deletion_is_a_row(serve, home, monkeypatch):
    (home / "workdir").mkdir()
    (home / "workdir" / "x").write_text("x")
    real = os.unlink

    def refuse(path, **named):
        if path == b"x":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, **named)

    monkeypatch.setattr(os, "unlink", refuse)
    _, answers = serve(hello(), manifest(), orders(delete=["x"]), message(b"Z", {"tree": "", "pairs": []}))
    assert rows(answers) == [["x", "Permission denied"]]


def test_a_folder_that_cannot_be_made_is_a_row_and_so_is_all_below(serve, home):
    (home / "workdir").mkdir()
    (home / "workdir" / "d").write_text("in the way")
    found = [Entry(b"d", b"d", 0o755, 0, 0), Entry(b"d/x", b"f", 0o644, 4, 5)]
    _, answers = serve(
        hello(),
        manifest(*found),
        orders(make=[0]),
        small(1, b"data"),
        message(b"Z", {"tree": "", "pairs": []}),
    )
    why = "a file or symlink stands where its folder must go; symlinks are never followed"
    assert rows(answers) == [["d", why], ["d/x", why]]


def test_each_refusal_has_its_words(tree):
    said = {code: failed_row(tree, FILE, OSError(code, os.strerror(code)))[1] for code in (21, 39, 13, 84)}
    assert "folder with files of its own" in said[21] == said[39]
    assert said[13] == "Permission denied"
    assert "cannot hold" in said[84]
    with pytest.raises(receiver.FullError) as caught:
        failed_row(tree, FILE, OSError(errno.ENOSPC, "full"))
    assert "4 B needed" in caught.value.args[0][1]
    assert failed_row(tree, FILE, OSError("odd"))[1] == "odd"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (5_250_000, "5.2 MB"), (7e12, "7000.0 GB")],
)
def test_sizes_read_well(size, text):
    assert size_text(size) == text


def test_records_are_whole_or_nothing(tmp_path):
    path = str(tmp_path / "record")
    assert load_record(path).entries == {}
    save_record(path, {"tree": "x"}, encode([FILE]))
    assert load_record(path).head["tree"] == "x"
    assert load_record(path).entries == {b"file": FILE}
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    assert load_record(path).head == {}
    with pytest.raises(IsADirectoryError):
        save_record(str(tmp_path), {}, b"")
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.parent.glob("*.tmp"))


def test_globs_stay_inside_and_skip_hidden_names(tree, home):
    for path in ("a/x.pt", "a/.h.pt", "b/c/y.pt", ".cache/z.pt", "a/[q].pt"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("x")
    assert list(expand(tree, b"**/*.pt")) == [b"a/[q].pt", b"a/x.pt", b"b/c/y.pt"]
    assert list(expand(tree, b"a/*")) == [b"a/[q].pt", b"a/x.pt"]
    assert list(expand(tree, b"a/.*")) == [b"a/.h.pt"]
    assert list(expand(tree, b"a/x.pt/*")) == []
    assert list(expand(tree, b"b/")) == [b"b"]


def test_an_umask_does_not_narrow_what_was_sent(tree, home):
    before = os.umask(0o077)
    try:
        incoming = Incoming(tree, [FILE], "t", umask=0o777)
        assert incoming.take(*read_frame(io.BytesIO(small(0, b"data")))) == []
    finally:
        os.umask(before)
    assert (home / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("version", ["3.8", "3"])
def test_the_program_runs_by_itself_on_old_pythons(home, version):
    python = shutil.which(f"python{version}") if version == "3.8" else sys.executable
    if python is None or subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip(f"no Python {version} on this computer")
    done = subprocess.run(
        [python, "-I", "-S", receiver.__file__],
        input=hello("pull", root="~", patterns=["none"]) + message(b"Q", {"fetch": [], "same": []}),
        capture_output=True,
        check=False,
        env={"HOME": str(home)},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"+R")

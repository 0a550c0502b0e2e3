"""The exception tree: what every kind carries, that it survives pickling, and that the drawing is true."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from gpuforge import errors
from gpuforge.errors import (
    Attempt,
    CleanupError,
    CommandError,
    GpuforgeError,
    Leftover,
    Mistake,
    ProvisionError,
    SpecError,
    SyncError,
)

HOSTILE = 'a "name"; with\nlines, $HOME and ☃'


def _kinds(root: type[GpuforgeError] = GpuforgeError) -> list[type[GpuforgeError]]:
    own = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [root, *(found for kind in own for found in _kinds(kind))]


KINDS = _kinds()
EXTRAS = {
    SpecError: {"mistakes": (Mistake(where="f:1:2", message=HOSTILE, snippet="x"),)},
    ProvisionError: {
        "attempts": (Attempt(instance_type="t", place="z", reason=HOSTILE, error_code="capacity"),)
    },
    CommandError: {"status": 7},
    SyncError: {"rows": ((HOSTILE, "gone"),)},
    CleanupError: {"leftovers": (Leftover(kind="disk", name="d", place="z", reason=HOSTILE),)},
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301 - our own bytes
def test_every_kind_survives_a_copy_with_all_it_carries(kind, clone):
    """Keyword-only fields, notes and subclasses' own fields come back equal."""
    extras = EXTRAS.get(kind, {})
    error = kind(HOSTILE, details="why", resolution="do", **extras)
    error.add_note("seen")

    twin = clone(error)

    assert type(twin) is kind
    assert twin.__dict__ == error.__dict__
    assert str(twin) == str(error)
    assert twin.args == error.args == (HOSTILE,)
    for name, value in extras.items():
        assert getattr(twin, name) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_has_a_code_and_an_exit_code_of_the_documented_range(kind):
    """64 to 79 is the tool's own range; 1 and 2 belong to jobs and shells."""
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert 64 <= kind.exit_code <= 79


def test_codes_are_unique():
    """A code names one kind."""
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(codes)


EXIT_CODES = {
    "error": 70,
    "spec": 64,
    "policy": 73,
    "declined": 76,
    "deadline": 75,
    "budget": 73,
    "provider": 67,
    "capacity": 69,
    "quota": 73,
    "rate_limit": 67,
    "provider_unavailable": 67,
    "credentials": 77,
    "permission_denied": 77,
    "invalid_request": 67,
    "not_found": 66,
    "conflict": 67,
    "unsupported": 67,
    "provision": 69,
    "transport": 68,
    "connect": 68,
    "auth": 68,
    "host_key": 68,
    "command": 68,
    "sync": 74,
    "job": 66,
    "state": 72,
    "cleanup": 71,
}


def test_exit_codes_are_the_documented_ones():
    """Scripts depend on them: a change here is a change of the public interface."""
    assert {kind.code: kind.exit_code for kind in KINDS} == EXIT_CODES


def _drawn() -> dict[str, str]:
    """Child to parent, as the module's docstring draws them."""
    parents: dict[str, str] = {}
    branch: list[str] = ["GpuforgeError"]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:│  )*)[├└] (\w+)", line)
        if found:
            depth = len(found[1]) // 3 + 1
            branch[depth:] = [found[2]]
            parents[found[2]] = branch[depth - 1]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    """The drawing is what readers trust."""
    real = {kind.__name__: kind.__mro__[1].__name__ for kind in KINDS if kind is not GpuforgeError}

    assert _drawn() == real


def test_all_names_every_class_and_nothing_else():
    """``__all__`` is the public list."""
    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__ and not name.startswith("_")
    }

    assert set(errors.__all__) == public
    assert list(errors.__all__) == sorted(errors.__all__)


def test_text_is_the_brief_with_its_details():
    """What a log shows when nobody renders the error."""
    assert str(GpuforgeError("it broke")) == "it broke"
    assert str(GpuforgeError("it broke", details="twice")) == "it broke: twice"


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (SpecError("x", mistakes=[Mistake(where="f:1", message="no"), Mistake(where="--env", message="why")]),
         "f:1: no\n--env: why"),
        (ProvisionError("x", attempts=[Attempt(instance_type="t", place="z", reason="r", error_code="c")]),
         "t  z  r"),
        (SyncError("x", rows=[("a b", "changed")]), "a b: changed"),
        (CleanupError("x", leftovers=[Leftover(kind="disk", name="d", place="z", reason="r")]),
         "disk d in z: r"),
    ],
    ids=["spec", "provision", "sync", "cleanup"],
)  # fmt: skip
def test_rows_become_details_when_none_are_given(error, details):
    """A caller that only prints ``details`` sees every row."""
    assert error.details == details


def test_given_details_win_over_rows():
    """The caller's own words are not replaced."""
    error = SpecError("x", mistakes=[Mistake(where="f", message="m")], details="mine")

    assert error.details == "mine"
    assert len(error.mistakes) == 1


def test_errors_can_be_raised_from_a_context_manager_and_hashed():
    """A frozen or dataclass exception could not."""
    error = CommandError("it failed")

    with pytest.raises(CommandError) as caught:
        raise error

    assert caught.value is error
    assert hash(error) == hash(caught.value)
    assert error.status == 1

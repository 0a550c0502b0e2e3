"""The grammars of single values: what they read, what they refuse, and that they read back what is shown."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge.models.resources import Accelerator, Bound
from gpuforge.spec import values

COUNTS = st.integers(1, 1024)
GPU_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: not name.lower().startswith("tpu")
)
HOSTILE = [
    "",
    " ",
    "\n",
    "a\nb",
    "'",
    '"; rm -rf /',
    "☃",
    "\x00",
    "٣",
    "1e3",
    "-1",
    "+1",
    "nan",
    "inf",
    "0x10",
    "²",
]


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("L4", "L4", 1),
        ("A100:8", "A100", 8),
        ("A100-80GB:4", "A100-80GB", 4),
        (" h100 ", "h100", 1),
        ("RTX6000-Ada", "RTX6000-Ada", 1),
    ],
)
def test_a_gpu_is_a_name_and_a_count(text, name, count):
    """The name stays as written: the catalogue makes it canonical."""
    assert values.parse_accelerator(text) == Accelerator(name, count=count)


@given(GPU_NAMES, COUNTS)
def test_a_gpu_reads_back_what_it_shows(name, count):
    """Round trip."""
    shown = Accelerator(name, count=count)

    assert values.parse_accelerator(str(shown)) == shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("80GB", "name the GPU instead"),
        ("80GB+", "name the GPU instead"),
        ("24GB..", "name the GPU instead"),
        ("16GB..24GB", "name the GPU instead"),
        ("nvidia:80GB+:2", "name the GPU instead"),
        ("80gib", "name the GPU instead"),
        ("tpu-v4-8", "TPUs are out of scope"),
        ("TPU-v5e:8", "TPUs are out of scope"),
        ("8", "write NAME:COUNT, such as L4:8"),
        ("L4:0", "whole number of GPUs"),
        ("L4:0.5", "whole number of GPUs"),
        ("L4:01", "whole number of GPUs"),
        ("L4:-1", "whole number of GPUs"),
        ("L4:", "whole number of GPUs"),
        ("L4:9999", "from 1 to 1024"),
        ("L4:1:2", "whole number of GPUs"),
        ("A 100", "write NAME or NAME:COUNT"),
        (":8", "write NAME or NAME:COUNT"),
    ],
)
def test_other_gpu_forms_are_refused_with_the_fix(text, says):
    """A GPU is never guessed."""
    with pytest.raises(ValueError, match=says):
        values.parse_accelerator(text)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("4", 4, 4),
        ("4+", 4, None),
        ("4..", 4, None),
        ("4..8", 4, 8),
        ("..8", None, 8),
        (" 4 .. 8 ", 4, 8),
        ("8..8", 8, 8),
    ],
)
def test_cpus_are_a_number_or_a_range(text, low, high):
    """Exactly, at least, between."""
    bound = values.parse_cpus(text)

    assert (bound.minimum, bound.maximum) == (low, high)


@given(st.integers(1, 10**6), st.one_of(st.none(), st.integers(1, 10**6)), st.booleans())
def test_cpus_read_back_what_they_show(one, other, is_open):
    """Round trip of every kind of bound."""
    low, high = sorted((one, other or one))
    bound = Bound(minimum=Decimal(low), maximum=None if is_open else Decimal(high))

    assert values.parse_cpus(str(bound)) == bound


@pytest.mark.parametrize(
    "text", ["4x", "0", "010", "4.5", "4 cores", "+4", "..", "+", "8..x", "4++", "1..2..3"]
)
def test_other_forms_of_cpus_are_refused(text):
    """With the forms there are."""
    with pytest.raises(ValueError, match=r"write 4 \(exactly\)"):
        values.parse_cpus(text)


def test_a_range_that_runs_backwards_is_refused():
    """It would admit nothing."""
    with pytest.raises(ValueError, match="smaller number first"):
        values.parse_cpus("8..4")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("32", "32", "32"),
        ("32GB", "32", "32"),
        ("32gib+", "32", None),
        ("32 GB ..", "32", None),
        ("0.5TB", "512", "512"),
        ("512MB+", "0.5", None),
        ("32..64GB", "32", "64"),
        ("32GB..1T", "32", "1024"),
        ("1.5G", "1.5", "1.5"),
    ],
)
def test_memory_is_gib_with_or_without_a_unit(text, low, high):
    """GB and GiB are read alike, as SkyPilot does."""
    bound = values.parse_memory_gib(text)

    assert bound == Bound(minimum=Decimal(low), maximum=None if high is None else Decimal(high))


@given(st.decimals("0.01", "100000", places=2), st.sampled_from(["", "GB", "GiB", "g", " gb"]))
def test_memory_keeps_every_digit(size, unit):
    """No float is between the text and the number."""
    assert values.parse_memory_gib(f"{size}{unit}+").minimum == size


@pytest.mark.parametrize("text", ["4x", "lots", "0", "010GB", "32PB", "-1", "1e3", "32GB64"])
def test_other_forms_of_memory_are_refused(text):
    """With the forms there are."""
    with pytest.raises(ValueError, match=r"write 32GB \(exactly\)"):
        values.parse_memory_gib(text)


@pytest.mark.parametrize(
    ("text", "gib"), [("1", 1), ("100", 100), ("256GB", 256), ("1TB", 1024), ("1024MB", 1), ("64T", 65536)]
)
def test_a_disk_is_whole_gib(text, gib):
    """What clouds sell."""
    assert values.parse_disk_gib(text) == gib


@pytest.mark.parametrize("text", ["0", "0.5", "512MB", "65537", "100 zb", "010", "big"])
def test_other_disks_are_refused(text):
    """Nothing is rounded behind the user's back."""
    with pytest.raises(ValueError, match="write whole GB from 1 to 65536"):
        values.parse_disk_gib(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("6h", timedelta(hours=6)),
        ("90m", timedelta(minutes=90)),
        ("1d2h", timedelta(hours=26)),
        ("30s", timedelta(seconds=30)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("120d", timedelta(days=120)),
        (" 6h ", timedelta(hours=6)),
    ],
)
def test_a_span_names_its_units(text, span):
    """Largest first."""
    assert values.parse_duration(text) == span


@given(st.integers(1, 120 * 86400))
def test_a_span_reads_back_what_it_shows(seconds):
    """Round trip to the second."""
    span = timedelta(seconds=seconds)

    assert values.parse_duration(values.format_duration(span)) == span


def test_nothing_is_shown_as_zero_seconds():
    """A span of no time has a text too."""
    assert values.format_duration(timedelta()) == "0s"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("90", 'write "90m" for minutes or "90h" for hours'),
        ("1.5", 'write "1.5m" for minutes'),
        ("0h", "not a span of time"),
        ("2h1d", "not a span of time"),
        ("6 h", "not a span of time"),
        ("6H", "not a span of time"),
        ("12:30:45", "not a span of time"),
        ("1w", "not a span of time"),
        ("121d", "after 120d at most"),
        ("120d1s", "after 120d at most"),
    ],
)
def test_other_spans_are_refused_with_the_fix(text, says):
    """Above all a number without a unit."""
    with pytest.raises(ValueError, match=says):
        values.parse_duration(text)


@given(st.decimals("0.01", "999999999", places=2))
def test_money_keeps_its_cents(amount):
    """No float is between the text and the number."""
    assert values.parse_money(str(amount)) == amount


@pytest.mark.parametrize("text", ["0", "0.00", "$5", "5 USD", "1,000", "010", "1_000", ".5", "5."])
def test_other_money_is_refused(text):
    """An amount above nothing, in digits."""
    with pytest.raises(ValueError, match="write US dollars above 0"):
        values.parse_money(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("fake", ("fake", None, None)),
        ("GCP/us-central1", ("gcp", "us-central1", None)),
        ("fake/sim-central1/sim-central1-a", ("fake", "sim-central1", "sim-central1-a")),
        ("*", (None, None, None)),
        ("*/us-east-1", (None, "us-east-1", None)),
        ("aws/*/us-east-1a", ("aws", None, "us-east-1a")),
    ],
)
def test_a_place_is_provider_region_zone(text, place):
    """A star stands for any, as in SkyPilot."""
    read = values.parse_infra(text)

    assert (read.provider, read.region, read.zone) == place


@pytest.mark.parametrize(
    "text", ["", "/", "fake/", "a/b/c/d", "fake//z", "fake/a b", "fa ke", "-x", "fake/../x"]
)
def test_other_places_are_refused(text):
    """With the forms there are, or the part that is wrong."""
    with pytest.raises(ValueError, match=r"is not a (place|provider)"):
        values.parse_infra(text)


@pytest.mark.parametrize("text", ["a", "A.b-c_d9", "x" * 63])
def test_names_are_what_folders_and_labels_can_hold(text):
    """After a slug, at least."""
    assert values.parse_name(text) == text


@pytest.mark.parametrize("text", ["-a", "a-", "x" * 64, "a/b", "..", "a b", "ä", "a\n"])
def test_other_names_are_refused(text):
    """Nothing that means something to a shell or a path."""
    with pytest.raises(ValueError, match="cannot be a name"):
        values.parse_name(text)


PARSERS = [
    values.parse_accelerator,
    values.parse_cpus,
    values.parse_memory_gib,
    values.parse_disk_gib,
    values.parse_duration,
    values.parse_money,
    values.parse_infra,
    values.parse_provider,
    values.parse_name,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(), st.text("0123456789.:+dhmsGBx-/ ", max_size=12)))
def test_no_text_makes_a_parser_fail_otherwise_than_with_a_printable_sentence(parse, text):
    """Whatever it is: control characters are shown as escapes, and no other error escapes."""
    said = _refusal(parse, text)

    assert said.isprintable()
    assert len(said) < 300


def _refusal(parse, text):
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""

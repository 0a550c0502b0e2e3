"""Values survive the journal's JSON exactly, and damaged JSON is refused by a known kind of error."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge.models.image import Image
from gpuforge.models.instance import HostKey, HttpCall, InstanceRef, PreparedCreate, Route
from gpuforge.models.money import Price
from gpuforge.models.offering import Offering
from gpuforge.models.resources import Accelerator, CapacityType
from gpuforge.state import codec

texts = st.text()
dates = st.dates()
amounts = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))
prices = st.builds(Price, usd_per_hour=amounts, as_of=dates, source=texts)
gpus = st.builds(
    Accelerator, name=texts, count=st.integers(1, 16), memory_gib=st.none() | st.integers(1, 999)
)
offerings = st.builds(
    Offering,
    provider=texts, region=texts, zone=texts, instance_type=texts,
    accelerator=st.none() | gpus, vcpus=st.integers(1, 999), memory_gib=amounts,
    capacity_type=st.sampled_from(CapacityType), price=st.none() | prices,
    disk_usd_per_gib_month=st.none() | amounts, arch=texts, restriction=texts,
)  # fmt: skip
images = st.builds(
    Image,
    provider=texts, id=texts, family=texts, framework=texts, cuda=texts, driver=texts, os=texts, arch=texts,
    created=dates, min_disk_gib=st.integers(1, 9999), deprecated=st.none() | dates,
)  # fmt: skip
refs = st.builds(
    InstanceRef, provider=texts, region=texts, zone=texts, name=texts, instance_id=st.none() | texts
)
routes = st.builds(
    Route, host=texts, port=st.integers(1, 65535), user=texts, proxy_command=st.lists(texts).map(tuple)
)
keys = st.builds(HostKey, kind=texts, blob=texts)
http_calls = st.none() | st.builds(HttpCall, method=texts, url=texts, headers=st.dictionaries(texts, texts))
prepared = st.builds(
    PreparedCreate,
    provider=texts, region=texts, zone=texts, names=st.lists(texts).map(tuple), token=texts,
    body=st.binary(), deadline=moments,
)  # fmt: skip

PAIRS = [
    (offerings, codec.offering_to_json, codec.offering_from_json),
    (images, codec.image_to_json, codec.image_from_json),
    (refs, codec.ref_to_json, codec.ref_from_json),
    (routes, codec.route_to_json, codec.route_from_json),
    (keys, codec.host_key_to_json, codec.host_key_from_json),
    (http_calls, codec.http_call_to_json, codec.http_call_from_json),
    (prepared, codec.prepared_to_json, codec.prepared_from_json),
    (moments, codec.moment_to_json, codec.moment_from_json),
    (st.none() | amounts, codec.money_to_json, codec.money_from_json),
]


@settings(deadline=None)  # the machine may be busy
@given(data=st.data(), pair=st.sampled_from(PAIRS))
def test_every_value_comes_back_as_it_was(data, pair):
    values, write, read = pair
    value = data.draw(values)

    assert read(json.loads(json.dumps(write(value)))) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # the machine may be busy
@given(data=st.data(), pair=st.sampled_from(PAIRS), damage=json_values)
def test_damage_ends_in_a_known_kind_of_error_or_a_value(data, pair, damage):
    values, write, read = pair
    whole = write(data.draw(values))
    if isinstance(whole, dict) and whole:
        whole[data.draw(st.sampled_from(sorted(whole)))] = damage
    else:
        whole = damage
    with contextlib.suppress(*codec.DAMAGED):
        read(whole)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        codec.moment_from_json("2026-11-25T09:30:00")


def test_times_are_written_in_utc():
    moment = datetime(2026, 11, 25, 9, 30, tzinfo=timezone(timedelta(hours=2)))

    assert codec.moment_to_json(moment) == "2026-11-25T07:30:00Z"


def test_money_keeps_its_digits():
    assert codec.money_to_json(Decimal("0.10")) == "0.10"
    assert date(2026, 1, 1).isoformat() == "2026-01-01"

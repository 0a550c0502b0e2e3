"""The port: what a provider offers beside its nine methods, and that ``fake`` has the shape of one."""

from __future__ import annotations

import inspect

from gpuforge.providers.base import Provider
from gpuforge.providers.fake.provider import FakeProvider


def _methods(kind):
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}


def test_the_port_has_nine_methods():
    assert len(_methods(Provider)) == 9


def test_fake_takes_the_same_words_as_the_port():
    for name, method in _methods(Provider).items():
        asked = list(inspect.signature(method).parameters)
        given = list(inspect.signature(getattr(FakeProvider, name)).parameters)
        assert given == asked, name

"""A broker that the tests share the making of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net import LocalBroker


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as running:
        yield running

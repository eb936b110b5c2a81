"""The conformance suites that the eventsourcing library ships, run over our recorder on one server and on R3."""

import asyncio
import uuid
from abc import ABC
from typing import Any, ClassVar
from unittest import TestCase

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.tests import persistence as suites
from nats.js.api import StreamConfig

from adapters.eventsourcing_recorder import JetStreamAggregateRecorder, JetStreamRecorder
from adapters.jetstream_event_log import JetStreamEventLog
from adapters.nats_connection import connect_nats
from domain.aggregate import Address
from domain.ports import Append
from tests.contract.test_event_log import events


class _OnOneServer(TestCase):
    url: ClassVar[str]
    replicas = 1

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, request: pytest.FixtureRequest) -> None:
        cls.url = request.getfixturevalue("nats_node").url

    def options(self) -> dict[str, Any]:
        """A stream of its own: the suites count notifications from 1."""
        name = f"T{uuid.uuid4().hex}"
        asyncio.run(_declare(self.url, name, self.replicas))
        return {"stream": name, "prefix": name, "originator": uuid.UUID}


class _OnCluster(_OnOneServer):
    replicas = 3

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, request: pytest.FixtureRequest) -> None:
        cls.url = request.getfixturevalue("nats_cluster")[0].url


async def _declare(url: str, name: str, replicas: int) -> None:
    connection = await connect_nats(url, "test")
    await connection.jetstream().add_stream(
        StreamConfig(name=name, subjects=[f"{name}.>"], num_replicas=replicas, allow_atomic=True, allow_direct=True)
    )
    await connection.close()


class _Application(_OnOneServer, ABC):
    def create_recorder(self) -> JetStreamRecorder:
        recorder = JetStreamRecorder(self.url, **self.options())
        self.addCleanup(recorder.close)
        return recorder


class _Aggregate(_OnOneServer, ABC):
    def create_recorder(self) -> AggregateRecorder:
        recorder = JetStreamAggregateRecorder(self.url, **self.options())
        self.addCleanup(recorder.close)
        return recorder


class TestAggregateRecorderOnOneServer(_Aggregate, suites.AggregateRecorderTestCase):
    pass


class TestAggregateRecorderOnR3(_OnCluster, _Aggregate, suites.AggregateRecorderTestCase):
    pass


class TestApplicationRecorderOnOneServer(_Application, suites.ApplicationRecorderTestCase[ApplicationRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderOnR3(_OnCluster, _Application, suites.ApplicationRecorderTestCase[ApplicationRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNotificationsDoNotInterleaveOnOneServer(_Application, suites.NonInterleavingNotificationIDsBaseCase):
    pass


class TestNotificationsDoNotInterleaveOnR3(_OnCluster, _Application, suites.NonInterleavingNotificationIDsBaseCase):
    pass


class TestBeyondTheSuites(_Application):
    def test_events_of_several_originators_get_their_own_positions(self) -> None:
        recorder = self.create_recorder()
        first, second = uuid.uuid4(), uuid.uuid4()
        mixed = [_event(first, 1), _event(second, 1), _event(first, 2)]

        positions = recorder.insert_events(mixed)

        found = {notification.id: notification for notification in recorder.select_notifications(1, 10)}
        assert positions is not None
        for event, position in zip(mixed, positions, strict=True):
            assert (found[position].originator_id, found[position].originator_version) == (
                event.originator_id,
                event.originator_version,
            )

    def test_what_cannot_be_done_is_said_in_the_librarys_words(self) -> None:
        recorder, originator = self.create_recorder(), uuid.uuid4()
        with pytest.raises(ProgrammingError):
            recorder.insert_events([_event(originator, version) for version in range(1_001)])
        with pytest.raises(NotSupportedError):
            recorder.insert_events([_event(originator, 1)], tracking=Tracking("app", 1))
        missing = JetStreamRecorder(self.url, stream="NOWHERE")
        self.addCleanup(missing.close)
        with pytest.raises(OperationalError):
            missing.max_notification_id()

    def test_state_that_is_json_is_stored_as_json_and_other_bytes_come_back_too(self) -> None:
        recorder = self.create_recorder()
        for state in (b'{"a": 1}', b"state", b"\xff\x00", b' {"padded":1}', b"", b'"\xff"'):
            event = StoredEvent(uuid.uuid4(), 1, "topic", state)
            recorder.insert_events([event])
            assert recorder.select_events(event.originator_id) == [event]


async def test_the_librarys_repository_can_read_what_our_log_recorded(connection: Any, nats_url: str) -> None:
    address, given = Address("ledger", uuid.uuid4().hex, 7), events(3, b'{"amount":1}')
    await JetStreamEventLog(connection).append([Append(address, 0, given)])

    found = await asyncio.to_thread(_select, nats_url, f"7.ledger.{address.ident}")

    assert [(event.topic, event.state) for event in found] == [("test.happened.v1", b'{"amount":1}')] * 3


def _select(url: str, originator_id: str) -> list[StoredEvent]:
    recorder = JetStreamRecorder(url)
    try:
        return list(recorder.select_events(originator_id))
    finally:
        recorder.close()


def _event(originator_id: uuid.UUID, version: int) -> StoredEvent:
    return StoredEvent(originator_id, version, "topic", b"{}")

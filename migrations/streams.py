"""The streams of the log, declared. Applying them again changes nothing; a setting is never taken back.

`EVT` and `REQ` keep everything for ever and refuse deletion: that cannot be undone, on purpose. `TMR` stands alone
because allowing schedules makes a stream purgeable. `KEYS` holds one message per data key and is the one from
which a person's data can be erased; it has no direct reads, so that an erased key is never served by a follower.
`IDEM` forgets a message after a day, and no sooner: when it is full it takes no new keys. A follower's answer about a
key could be an old one, so it has no direct reads either.
"""

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from domain.idempotency import KEPT_S

DUPLICATE_WINDOW_S = 120.0
MAX_IDEMPOTENCY_MESSAGES = 5_000_000
"""A server keeps about 350 bytes of each in memory."""


def streams() -> list[StreamConfig]:
    return [
        _stream("EVT", ["evt.>"], deny_delete=True, deny_purge=True, allow_atomic=True, allow_direct=True),
        _stream("REQ", ["req.>"], deny_delete=True, deny_purge=True, allow_direct=True),
        _stream("TMR", ["tmr.set.>", "tmr.due.>"], allow_msg_schedules=True, allow_direct=True),
        _stream("KEYS", ["keys.>"], max_msgs_per_subject=1, allow_direct=False),
        _stream(
            "IDEM",
            ["idem.>"],
            max_msgs_per_subject=1,
            max_msgs=MAX_IDEMPOTENCY_MESSAGES,
            discard=DiscardPolicy.NEW,
            max_age=float(KEPT_S),
            allow_direct=False,
        ),
    ]


async def apply_streams(connection: Client, *, replicas: int = 1) -> list[str]:
    """Create what is missing and bring the rest up to date; the names of the streams that changed.

    A stream that has more replicas than asked for keeps them.
    """
    jetstream = connection.jetstream()
    return [str(declared.name) for declared in streams() if await _apply(jetstream, declared, replicas)]


async def _apply(jetstream: JetStreamContext, declared: StreamConfig, replicas: int) -> bool:
    try:
        existing = (await jetstream.stream_info(str(declared.name))).config
    except NotFoundError:
        await jetstream.add_stream(declared.evolve(num_replicas=replicas))
        return True
    wanted = _settings(declared) | {"num_replicas": max(replicas, existing.num_replicas or 1)}
    if all(getattr(existing, setting) == value for setting, value in wanted.items()):
        return False
    await jetstream.update_stream(existing.evolve(**wanted))
    return True


def _settings(declared: StreamConfig) -> dict[str, object]:
    """What is declared; what is left to the server's default is not compared."""
    unset = StreamConfig()
    names = vars(declared)
    return {name: value for name, value in names.items() if value != getattr(unset, name)}


def _stream(name: str, subjects: list[str], **settings: object) -> StreamConfig:
    return StreamConfig(
        name=name, subjects=subjects, storage=StorageType.FILE, duplicate_window=DUPLICATE_WINDOW_S
    ).evolve(**settings)

"""Ids that are made here are of one form, sort by time, and come only once."""

import subprocess
import sys
import uuid
from itertools import pairwise

from api.request_id import IDS_A_DRAW, new_id


def test_ids_are_different_however_many_are_drawn() -> None:
    ids = [new_id() for _ in range(10 * IDS_A_DRAW)]

    assert len(set(ids)) == len(ids)
    assert len({each[13:] for each in ids}) == len(ids), "their random parts alone tell them apart"


def test_an_id_is_a_time_ordered_uuid_in_hex() -> None:
    ids = [new_id() for _ in range(IDS_A_DRAW)]

    assert all(len(each) == 32 and uuid.UUID(each).version == 7 for each in ids)
    assert all(one[:12] <= other[:12] for one, other in pairwise(ids))


FORKED = """
import os
from api.request_id import new_id
new_id()
child = os.fork()
os.write(1, new_id()[13:].encode() + b" ")
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_process_does_not_make_the_ids_of_its_parent() -> None:
    said = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=True).stdout

    one, other = said.split()
    assert one != other

"""What is told in forked children. Each forks in a program of its own."""

from __future__ import annotations

import pytest

from tests.programs import outcome

pytestmark = pytest.mark.slow

BEGIN = """
import gc, json, os, sys
from pool_lifecycle import forks

class Thing:
    def __init__(self, error=None):
        self.error, self.told = error, 0
        forks.register(self)

    def forked(self):
        self.told += 1
        if self.error:
            raise self.error

def in_child(look):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(look()).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    return json.loads(os.read(reading, 1000))
"""


def test_in_a_forked_child_everybody_is_told_and_in_the_parent_nobody() -> None:
    """FAULTS, forks: also behind one that meets an error, and in every child."""
    source = """
bad, good = Thing(OSError(9, "closed already")), Thing()
found = [in_child(lambda: [bad.told, good.told]) for _ in range(2)]
print(json.dumps([found, bad.told, good.told]))
"""
    assert outcome(BEGIN + source) == [[[1, 1], [1, 1]], 0, 0]


def test_what_is_gone_is_not_told() -> None:
    """To register keeps nothing alive."""
    source = """
thing = Thing()
del thing
gc.collect()
print(json.dumps(in_child(lambda: len(forks._all))))
print(json.dumps(len(forks._all)))
"""
    assert outcome(BEGIN + source) == 0


def test_a_child_of_a_child_is_told_of_what_the_child_has_made() -> None:
    """And not again of what was its grandparent's."""
    source = """
old = Thing()
def grandchild():
    new = Thing()
    return in_child(lambda: [old.told, new.told])
print(json.dumps(in_child(grandchild)))
"""
    assert outcome(BEGIN + source) == [1, 1]

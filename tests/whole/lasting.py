"""Leases as those who hold them know them, whichever manager there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random

from attrs import define, field

from pool_lifecycle.lease import Lease
from pool_lifecycle.pool import Pool
from tests.whole.invariants import held
from tests.whole.processes import SimulatedHost


@define(eq=False)
class Lasting:
    """The leases that outlive managers: by pool and token their generation and end.

    `over`: the manager that grants them is dead.
    """

    over: Callable[[], bool]
    given: defaultdict[str, dict[int, tuple[int, float | None]]] = field(factory=lambda: defaultdict(dict))
    last: dict[str, int] = field(factory=dict)

    async def grant(self, pool: Pool, ttl: float | None) -> None:
        """Somebody outside takes one."""
        lease = await pool.grant("somebody outside", ttl=ttl)
        if not self.over():
            self.given[pool.pool_id][lease.token] = (lease.generation, lease.expires_at)

    def forget(self, pool_id: str) -> None:
        """The pool is no more, nor are its leases; one of the same name goes on with its tokens."""
        self.given.pop(pool_id, None)

    def s9_released_once(self, pool: Pool, chance: Random) -> None:
        """S9: somebody gives one back, twice."""
        given = self.given[pool.pool_id]
        if given:
            token = chance.choice(sorted(given))
            del given[token]
            pool.release(token)
            held(not pool.release(token), f"lease {token} was released twice")

    def s9_tokens_grow(self, pool_id: str, lease: Lease) -> None:
        """S9: of two leases the later one has the higher token, also across managers."""
        held(
            lease.token > self.last.get(pool_id, 0), f"token {lease.token} of {pool_id} was given out before"
        )
        self.last[pool_id] = lease.token

    def s17_leases_last(self, host: SimulatedHost, pool: Pool) -> None:
        """S17: a lease that was granted to last is there under the next manager, while its engine is."""
        engines = [(one.generation, host.by_token(one.token)) for one in pool.snapshot.engines]
        living, now = {generation for generation, one in engines if one and one.lives}, host.now
        for token, (generation, expires_at) in self.given[pool.pool_id].items():
            if generation in living and (expires_at is None or expires_at > now):
                held(pool.book.held(token), f"lease {token} of {pool.pool_id} is lost")

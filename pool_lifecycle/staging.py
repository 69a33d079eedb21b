"""Puts a pool's models in place by their stagers, and knows and tells how far that is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import define, field

from pool_lifecycle.events import Target
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import ModelStager, StagedModel, StageProgress
from pool_lifecycle.promises import expected
from pool_lifecycle.records import ModelFrom, ModelStaged, StagingProgressed
from pool_lifecycle.references import stager_of
from pool_lifecycle.transfer import Meter, Transfer

HERE = stager_of("")
"""Who stages what lies on this host."""


@define(eq=False)
class Staging:
    """What one pool stages. Only the last begun is looked at: another one is about to end."""

    _host: Host
    _pool_id: str
    _meter: Meter | None = field(default=None, init=False)
    _last: StagedModel | None = field(default=None, init=False)

    @property
    def transfer(self) -> Transfer | None:
        """How far it is; None while nothing is staged, or its stager has not said yet."""
        meter = self._meter
        return None if meter is None or not meter.looked else meter.at(self._host.clock())

    async def stage(
        self, stager: ModelStager, target: Target, progress: Callable[[Transfer], None]
    ) -> StagedModel:
        """Put the model of a target in place. `progress` hears how far it is, as often as the stager says."""
        reference = target.model or ""
        self._meter = meter = Meter(reference, self._host.clock())
        try:
            staged = await stager.stage(
                reference=reference, digest=target.digest, progress=partial(self._look, meter, progress)
            )
        finally:
            if self._meter is meter:
                self._meter = None
        self._tell(expected(StagedModel, staged, "stage"), meter)
        return staged

    def _look(self, meter: Meter, progress: Callable[[Transfer], None], seen: StageProgress) -> None:
        now = self._host.clock()
        meter.look(now, seen.done, seen.total)
        transfer = meter.at(now)
        if meter.news(now):
            self._host.observe(StagingProgressed(self._pool_id, now, transfer, meter.milestone(now)))
        progress(transfer)

    def _tell(self, staged: StagedModel, meter: Meter) -> None:
        now = self._host.clock()
        fetched = ModelFrom.FETCHED if meter.looked else ModelFrom.CACHE
        came_from = ModelFrom.HERE if stager_of(meter.reference) == HERE else fetched
        again, self._last = staged == self._last, staged
        self._host.observe(ModelStaged(self._pool_id, now, staged, now - meter.began, came_from, again=again))

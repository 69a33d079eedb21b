"""What an engine needs before it is launched: a port, its model in place, room for it, and a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from attrs import define, evolve, field

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_memory import shortage
from pool_lifecycle.device_preflight import device_causes
from pool_lifecycle.errors import DriverError
from pool_lifecycle.events import Event, Target
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import EngineLauncher, EngineProfile, LaunchRequest, ModelInfo, StagedModel
from pool_lifecycle.promises import expected
from pool_lifecycle.requests import needs, request_for
from pool_lifecycle.snapshot import Instance, Snapshot
from pool_lifecycle.spec import NO_PROBE, PoolSpec
from pool_lifecycle.staging import Staging
from pool_lifecycle.transfer import Transfer

NOTHING_STAGED: Mapping[Target, StagedModel] = MappingProxyType({})
"""One for all pools without a model."""


class Owner(Protocol):
    """What is seen here of the pool."""

    spec: PoolSpec

    @property
    def snapshot(self) -> Snapshot:
        """As it is now."""

    def spec_of(self, target: Target) -> PoolSpec:
        """What an engine for this target is launched from."""

    def tell(self, event: Event) -> None:
        """Take a step."""


@define(eq=False)
class Provisions:
    """Of one pool's engines. `_port` is the one that the next launch was found well for."""

    host: Host
    pool: Owner
    _staged: Mapping[Target, StagedModel] = field(default=NOTHING_STAGED, init=False)
    _staging: Staging | None = field(default=None, init=False)
    _port: int | None = field(default=None, init=False)
    _ratios: dict[Target, tuple[float, ...]] | None = field(default=None, init=False)

    @property
    def staging(self) -> Staging:
        """What it stages."""
        self._staging = self._staging or Staging(self.host, self.spec.pool_id)
        return self._staging

    @property
    def spec(self) -> PoolSpec:
        """What its pool is declared as."""
        return self.pool.spec

    async def preflight(self, target: Target) -> tuple[Cause, ...]:
        """Everything known beforehand to make the launch fail."""
        self._port = await self._choose_port(target)
        return await self._preflight(self.request(_candidate(target), self._port), target)

    async def preflight_ahead(self, target: Target) -> tuple[Cause, ...]:
        """The same while the old engine lives, whose port and memory will be free by then."""
        port = await self._reserved_port(target)
        return await self._preflight(evolve(self.request(_candidate(target), port), memory=None), target)

    async def preflight_beside(self, target: Target) -> tuple[Cause, ...]:
        """Everything known to make a launch beside the engine that lives fail: both need their room."""
        spec, port = self.pool.spec_of(target), await self._choose_port(target)
        if any(one.handle is not None and one.handle.port == port for one in self.pool.snapshot.engines):
            return (_one_port(port),)
        staged = self._staged.get(target) or await self._resolved(target)
        needed, _ = needs(spec, staged)
        request = evolve(self.request(_candidate(target), port), memory=needed)
        short = await shortage(spec, self.host, staged)
        return (*await self._preflight(request, target), *(() if short is None else (short,)))

    async def _preflight(self, request: LaunchRequest, target: Target) -> tuple[Cause, ...]:
        causes = await self.launcher.preflight(request=request)
        found = tuple(expected(Cause, one, "preflight") for one in causes)
        spec = self.pool.spec_of(target)
        if spec.probe == NO_PROBE and not spec.on_gpus:
            return found
        try:
            model = self._staged.get(target) or await self._resolved(target)
        except DriverError as error:  # nor can what its devices have be compared with what it needs
            return (*found, error.cause)
        return (*found, *await device_causes(spec, self.host, model))

    def model_of(self, target: Target) -> StagedModel | None:
        """What was staged for a target, if anything was."""
        return self._staged.get(target)

    def spread(self, target: Target, ratios: tuple[float, ...]) -> None:
        """Launch the engines of a target with their model spread over its devices in these shares."""
        self._ratios = {**(self._ratios or {}), target: ratios} if ratios else self._ratios

    async def _resolved(self, target: Target) -> ModelInfo | None:
        if target.model is None:
            return None
        stager = self.host.stager(self.spec.stager, target.model)
        return expected(ModelInfo, await stager.resolve(reference=target.model), "resolve")

    async def stage(self, target: Target, progress: Callable[[Transfer], None], *, keep: Target) -> None:
        """Put the model of a target in place. What is known of others but `keep` is forgotten."""
        reference = target.model or ""
        stager = self.host.stager(self.spec.stager, reference)
        await stager.resolve(reference=reference)
        staged = await self.staging.stage(stager, target, progress)
        kept = {known: place for known, place in self._staged.items() if known == keep}
        self._staged = {**kept, target: staged}

    async def _put_in_place(self, target: Target) -> None:
        if target.model is not None and target not in self._staged:
            await self.stage(target, lambda _: None, keep=self.pool.snapshot.target)

    async def _choose_port(self, target: Target) -> int:
        declared = self.pool.spec_of(target).engine.port
        return await self._reserved_port(target) if declared is None else declared

    async def _reserved_port(self, target: Target) -> int:
        engine = self.pool.spec_of(target).engine
        return expected(int, await self.launcher.reserve_port(host=engine.host), "reserve_port")

    @property
    def launcher(self) -> EngineLauncher:
        """The pool's launcher."""
        return self.host.drivers.launcher(self.spec.launcher)

    def _profile(self, target: Target) -> EngineProfile:
        return self.host.drivers.profile(self.pool.spec_of(target).engine.profile)

    def request(self, instance: Instance, port: int) -> LaunchRequest:
        """What a launch of `instance` on `port` asks of the launcher."""
        staged = self._staged.get(instance.target)
        model_path = staged.path if staged else instance.target.model
        spec, paths = self.pool.spec_of(instance.target), self.host.paths
        profile = self._profile(instance.target)
        ratios = (self._ratios or {}).get(instance.target, spec.engine.split)
        return request_for(
            spec, instance, port=port, model_path=model_path, profile=profile, paths=paths, ratios=ratios
        )


def _candidate(target: Target) -> Instance:
    """An engine that is only thought of."""
    return Instance(0, "preflight", target)


def _one_port(port: int) -> Cause:
    what = f"two engines cannot both listen on the declared port {port}"
    help_ = "leave engine.port out, so that each launch gets a free one, or use strategy stage_first"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, heals=False, remedy=help_)

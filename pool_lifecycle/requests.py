"""What a launch asks of a launcher: a pool's declaration and one launch of it, put together."""

from __future__ import annotations

from pool_lifecycle.devices import cuda_visible
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    EngineProfile,
    LaunchRequest,
    ModelInfo,
    StagedModel,
)
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.statedir import StateDir


def request_for(
    spec: PoolSpec,
    instance: Instance,
    *,
    port: int,
    model_path: str | None,
    profile: EngineProfile,
    paths: StateDir,
    ratios: tuple[float, ...] = (),
) -> LaunchRequest:
    """A launch of `instance`, which is to listen on `port`, its model spread over devices by these `ratios`.

    What is declared comes last, so that it has the last word. Raises what the profile raises.
    """
    engine, pool_id = spec.engine, spec.pool_id
    context = CommandContext(
        binary=engine.binary,
        args=(*profile.split_flags(ratios=ratios), *engine.args) if ratios else engine.args,
        host=engine.host,
        port=port,
        slots=spec.slots,
        model_path=model_path,
    )
    command = profile.command(context=context)
    return LaunchRequest(
        pool_id=pool_id,
        generation=instance.generation,
        token=instance.token,
        command=Command(command.argv, (*command.env, *_mask(spec), *engine.env)),
        host=engine.host,
        port=port,
        log_path=paths.log(pool_id, aside=instance.aside),
        pid_path=paths.pid(pool_id, aside=instance.aside),
        cwd=engine.cwd,
        env_passthrough=engine.env_passthrough,
        memory=engine.memory,
        orphan_grace=spec.limits.stop_grace if spec.on_manager_exit == "stop" else None,
    )


def needs(spec: PoolSpec, model: StagedModel | ModelInfo | None) -> tuple[int | None, int | None]:
    """Bytes of the host's memory, and of each of its devices, that an engine takes; None: nobody can say.

    What is declared comes first, else what the model's own header lets expect, else the size of its files. A
    pool on devices keeps its model there, in equal parts.
    """
    details, size = (None, None) if model is None else (model.details, model.size)
    estimate = size if details is None or details.memory is None else details.memory
    on_host, on_devices = spec.engine.memory, spec.engine.device_memory
    if not spec.devices:
        return on_host or estimate, on_devices
    share = None if estimate is None else -(-estimate // len(spec.devices))
    return on_host, on_devices or share


def _mask(spec: PoolSpec) -> tuple[tuple[str, str], ...]:
    """The engine sees its masked devices only, numbered as the driver's tools number them."""
    if spec.device_mask is None:
        return ()
    return (("CUDA_VISIBLE_DEVICES", cuda_visible(spec.device_mask)), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))

"""What a launch asks of a launcher: a pool's declaration and one launch of it, put together."""

from __future__ import annotations

from pool_lifecycle.devices import cuda_visible
from pool_lifecycle.interfaces import Command, CommandContext, EngineProfile, LaunchRequest
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
) -> LaunchRequest:
    """A launch of `instance`, which is to listen on `port`. Raises what the profile raises."""
    engine, pool_id = spec.engine, spec.pool_id
    context = CommandContext(
        binary=engine.binary,
        args=engine.args,
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
        log_path=paths.log(pool_id),
        pid_path=paths.pid(pool_id),
        cwd=engine.cwd,
        env_passthrough=engine.env_passthrough,
        memory=engine.memory,
        orphan_grace=spec.limits.stop_grace if spec.on_manager_exit == "stop" else None,
    )


def _mask(spec: PoolSpec) -> tuple[tuple[str, str], ...]:
    """The engine sees its masked devices only, numbered as the driver's tools number them."""
    if spec.device_mask is None:
        return ()
    return (("CUDA_VISIBLE_DEVICES", cuda_visible(spec.device_mask)), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))

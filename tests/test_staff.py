"""What works for a pool once something was asked of it."""

from __future__ import annotations

from pool_lifecycle.staff import Staff
from tests.worlds import a_spec, a_world, virtually


@virtually
async def test_a_pool_gets_its_helpers_when_it_is_first_asked_something() -> None:
    """Ten thousand pools that were never started cost little; once there, they stay the same."""
    async with a_world() as world:
        idle = await world.manager.add(a_spec("idle"))
        await world.pool.start()
        staff = world.pool._staff
        assert isinstance(staff, Staff)
        await world.pool.stop()
        assert world.pool._staff is staff
        assert idle._staff_ is None

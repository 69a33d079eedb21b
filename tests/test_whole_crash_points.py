"""The manager is killed at every call of a driver and of the store, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.whole.crash_points import SCENARIOS, every_point, run


@pytest.mark.parametrize("policy", ["keep", "stop"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_point_loses_nothing(scenario: str, policy: str) -> None:
    """S1 to S17, V1 to V8: whatever was under way goes on under the next manager, and comes to its end."""
    runs = list(every_point(scenario, policy))
    print(f"{scenario}, policy {policy}: killed at each of {len(runs) - 1} points")
    assert len(runs) > 30
    assert not [str(one) for one in runs if one.violation]


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_host_that_goes_down_in_the_middle_of_a_reload_comes_back(how: str) -> None:
    """S5, S17: every tenth point stands for all here; `make simulate` takes them all."""
    scenario = "launch, reload with drain_first, stop"
    points = run(scenario, "keep").points
    runs = [run(scenario, "keep", (at,), how) for at in range(1, points, 10)]
    assert not [str(one) for one in runs if one.violation]

"""What a driver returned is held against what it promised."""

from __future__ import annotations

import pytest

from pool_lifecycle.interfaces import Health
from pool_lifecycle.promises import expected


def test_a_value_of_the_wrong_kind_names_the_verb() -> None:
    """What fits is passed on."""
    health = Health(ok=True, detail="")
    assert expected(Health, health, "check") is health
    with pytest.raises(TypeError, match="'check' returned None, not a Health"):
        expected(Health, None, "check")

"""Secrets are found in what an engine is given, and taken out of what it says."""

from __future__ import annotations

import pytest

from pool_lifecycle.redaction import HIDDEN, secrets_of, without


@pytest.mark.parametrize(
    ("arguments", "environment", "secrets"),
    [
        (("--api-key", "hunter2", "--ctx-size", "4096"), {}, {"hunter2"}),
        (("--api-key=hunter2", "--model", "a.gguf"), {}, {"hunter2"}),
        ((), {"HF_TOKEN": "hf_1"}, {"hf_1"}),
        ((), {"AWS_SECRET_ACCESS_KEY": "/slash/first"}, set()),
        ((), {"OMP_NUM_THREADS": "16", "MODE": "quick"}, set()),
        ((), {"CONNECTION": "user:pass@db.example"}, {"user:pass@db.example"}),
        ((), {"LD_LIBRARY_PATH": "/opt/cuda/lib64"}, set()),
        (("--api-key", "abc"), {"API_KEY": "abc"}, set()),
        (("--token", ""), {"TOKEN": ""}, set()),
    ],
)
def test_what_counts_as_a_secret(
    arguments: tuple[str, ...], environment: dict[str, str], secrets: set[str]
) -> None:
    """S18: what is named as one, and long values of variables; not paths, not what is too short to hide."""
    assert secrets_of(arguments, environment) == secrets


def test_every_secret_in_a_line_is_hidden() -> None:
    """Wherever it stands and however often, also where one secret is part of another."""
    line = "error: hunter2 (hunter2-longer) from hunter2"
    assert without({"hunter2", "hunter2-longer"}, line) == f"error: {HIDDEN} ({HIDDEN}) from {HIDDEN}"


def test_a_line_without_secrets_is_as_it_was() -> None:
    """Nothing else is touched."""
    assert without({"hunter2"}, "hunter 2") == "hunter 2"

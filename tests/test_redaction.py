"""Secrets are found in what an engine is given, and taken out of what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pool_lifecycle.redaction import HIDDEN, LEAST_NAMED, hide_secrets, secrets_of, shown_arguments, without

# --- what counts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "secrets"),
    [
        (("--api-key", "hunter2", "--ctx-size", "4096"), {}, {"hunter2"}),
        (("--api-key=hunter2", "--model", "a.gguf"), {}, {"hunter2"}),
        ((), {"HF_TOKEN": "hf_1"}, {"hf_1"}),
        ((), {"AWS_SECRET_ACCESS_KEY": "/slash/first"}, {"/slash/first"}),
        ((), {"HF_TOKEN": "/9jAAbase64+value=="}, {"/9jAAbase64+value=="}),
        ((), {"PWD": "/home/someone", "OLDPWD": "/home/nobody"}, set()),
        (("--api-key", "key-1", "key-2", "--port", "8000"), {}, {"key-1", "key-2"}),
        (("--api-key", "key-1,key-2"), {}, {"key-1,key-2", "key-1", "key-2"}),
        (("--db", "postgres://u:pa%40ss@host/db"), {}, {"pa%40ss", "pa@ss"}),
        (("--repo", "https://ghp_0123456789@github.com"), {}, {"ghp_0123456789"}),
        (("--url", "http://host:8080/a@b", "ssh://git@host"), {}, set()),
        ((), {"DB": "db://u:hunter2@h"}, {"db://u:hunter2@h", "hunter2"}),
        ((), {"AUTHORIZATION": "Bearer hunter2"}, {"Bearer hunter2", "hunter2"}),
        (("-e", "API_KEY=hunter2", "--env=DB_PASS=hunter3"), {}, {"hunter2", "hunter3"}),
        ((), {"API_KEY": "a\tbc"}, {"a\tbc", r"a\tbc"}),
        ((), {"API_KEY": " abcd "}, {" abcd ", "abcd"}),
        (("--api-key", "db://u:pass@h"), {}, {"db://u:pass@h", "pass"}),
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
    """S18: what is named as one, and long values of variables but paths; not what is too short to hide."""
    assert secrets_of(arguments, environment) == secrets


NAMED = """
    API_KEY api-key apiKey apikey APIKEY APIKey KEY2 OPENAIKEY PGPASSWORD DB_PASS dbpass MYSQL_PWD
    passwd userPass SSH_PASSPHRASE MY_SECRET secretKey clientsecret HF_TOKEN hftoken hf.token authToken
    API_TOKENS AWS_CREDENTIALS Authorization X-Auth HTTPAuth oauth creds hft JWT
"""


@pytest.mark.parametrize("name", NAMED.split())
def test_names_that_speak_of_a_secret(name: str) -> None:
    """S18: word by word, in any writing, also where words are run together."""
    assert secrets_of((), {name: "/abc"}) == {"/abc"}
    assert hide_secrets((f"--{name}", "/abc")) == (f"--{name}", HIDDEN)


ALIKE = """
    keyboard monkey hotkey tokenizer TOKENIZERS_PARALLELISM max-tokens maxTokens max_num_batched_tokens
    author compass bypass passes ssl-keyfile passthrough model ctx-size
"""


@pytest.mark.parametrize("name", ALIKE.split())
def test_names_that_only_sound_alike(name: str) -> None:
    """What they are given is for everybody to read."""
    assert secrets_of((), {name: "/models/a.gguf"}) == set()
    assert hide_secrets((f"--{name}", "/models/x")) == (f"--{name}", "/models/x")


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ("--api-key k1 k2 --port 1", f"--api-key {HIDDEN} {HIDDEN} --port 1"),
        ("--password --api-key k1 -c 1", f"--password {HIDDEN} {HIDDEN} -c 1"),
        ("--db=db://u:pass@h/x", f"--db=db://u:{HIDDEN}@h/x"),
        ("db://u:p@ss@h db://u:pass@i", f"db://u:{HIDDEN}@h db://u:{HIDDEN}@i"),
        ("--header Authorization:abcd", f"--header Authorization:{HIDDEN}"),
        ("--header=X-Api-Key:abcd", f"--header=X-Api-Key:{HIDDEN}"),
        ("--header=Accept:text --model=a", "--header=Accept:text --model=a"),
    ],
)
def test_what_is_shown_of_arguments(flags: str, shown: str) -> None:
    """S18: every value of a secret option, and of another argument only the part that is one."""
    assert hide_secrets(flags.split()) == tuple(shown.split())
    assert shown_arguments(tuple(flags.split())) == repr(tuple(shown.split()))


def test_arguments_that_are_none_are_not_shown() -> None:
    """Whatever was given in their place may hold a secret."""
    assert shown_arguments("--api-key hunter2") == shown_arguments((1,)) == HIDDEN


# --- what is said -----------------------------------------------------------------------------------------


def test_every_secret_in_a_line_is_hidden() -> None:
    """Wherever it stands and however often, also where one secret is part of another."""
    line = "error: hunter2 (hunter2-longer) from hunter2"
    assert without({"hunter2", "hunter2-longer"}, line) == f"error: {HIDDEN} ({HIDDEN}) from {HIDDEN}"


def test_a_line_without_secrets_is_as_it_was() -> None:
    """Nothing else is touched."""
    assert without({"hunter2"}, "hunter 2") == "hunter 2"


def test_what_a_cut_leaves_of_a_secret_is_hidden() -> None:
    """S18: where a text ends in the midst of one, also where a shorter one is part of it."""
    secrets = {"hunter2-and-more", "ter2"}
    assert without(secrets, "error: hunter2-and-m") == f"error: {HIDDEN}"
    assert without(secrets, "error: hun") == "error: hun"


Given: TypeAlias = tuple[tuple[str, ...], Mapping[str, str]]

PLACES: dict[str, Callable[[str], Given]] = {
    "value": lambda secret: (("--api-key", secret), {}),
    "equals": lambda secret: ((f"--apikey={secret}",), {}),
    "one of many": lambda secret: (("--api-key", "first", secret, "--port", "1"), {}),
    "listed": lambda secret: (("--api-key", f"first,{secret},last"), {}),
    "header": lambda secret: (("--header", f"Authorization: Bearer {secret}"), {}),
    "header's option": lambda secret: ((f"--header=X-Api-Key: {secret}",), {}),
    "URL": lambda secret: (("--db", f"https://user:{quote(secret, safe='')}@host/db"), {}),
    "variable": lambda secret: ((), {"DB_PASS": secret}),
    "listed in a variable": lambda secret: ((), {"apiKeys": f"first,{secret}"}),
    "one line of many": lambda secret: ((), {"TLS_PRIVATE_KEY": f"-----BEGIN-----\n{secret}\n"}),
    "header in a variable": lambda secret: ((), {"HEADERS": f"Authorization: Bearer {secret}"}),
    "URL in a variable": lambda secret: ((), {"DB": f"db://user:{quote(secret, safe='')}@host"}),
}

HOSTILE = "aB0/+=,;:@%'\"\\ \t\r\n-_.\u00e9\u2028\U0001f600\udcff"
"""Among others what parts values, what is escaped, and what a byte that is no text is in a variable."""


@pytest.mark.parametrize("place", PLACES)
@given(st.text(HOSTILE, min_size=LEAST_NAMED, max_size=40), st.text(HOSTILE, max_size=9), st.data())
def test_no_secret_survives(place: str, secret: str, around: str, data: st.DataObject) -> None:
    """S18: wherever it was given, and whether an engine repeats it as it is, as repr, as JSON or cut off."""
    if place == "one of many":
        secret = secret.lstrip("-")
    if place.startswith("listed"):
        secret = secret.replace(",", "").replace("\n", "")
    if place == "one line of many":
        secret = secret.replace("\n", "")
    if place.startswith("URL"):
        secret = secret.replace("\udcff", "")
    if place.startswith("header"):
        secret = secret.strip()
    assume(len(secret) >= LEAST_NAMED)
    arguments, environment = PLACES[place](secret)
    secrets = secrets_of(arguments, environment)
    said = (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], *secret.split("\n"))
    for one in (one for one in said if len(one) >= LEAST_NAMED):
        for line in f"{around}{one}{around}".split("\n"):
            assert one not in without(secrets, line)
            assert not any(
                part in without(secrets, line) for part in one.split("\n") if len(part) >= LEAST_NAMED
            )
    line = secret.split("\n")[0]
    cut = line[: data.draw(st.integers(LEAST_NAMED, max(LEAST_NAMED, len(line))))]
    if len(cut) >= LEAST_NAMED:
        assert cut not in without(secrets, f"it said: {cut}")
    assert secret not in " ".join(hide_secrets(arguments))

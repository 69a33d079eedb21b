"""Which words in a log are the engine's own: real lines, and the same words as somebody else's."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import ECHOES, Echo, EngineProfile, Pattern, Reach
from pool_lifecycle.own_words import Finding, OwnWords, present, recognise
from pool_lifecycle_drivers.profile_generic import GenericProfile
from pool_lifecycle_drivers.profile_llamacpp import LlamaCppProfile
from pool_lifecycle_drivers.profile_vllm import VllmProfile

CUDA = Pattern("CUDA error", FailureClass.CUDA)
LLAMACPP, VLLM, GENERIC = LlamaCppProfile, VllmProfile, GenericProfile


def told(profile: type[EngineProfile], log: str) -> set[FailureClass]:
    """The classes that the engine's own words in the log stand for."""
    patterns = profile().patterns
    words = OwnWords(getattr(profile, "echoes", ECHOES))
    ranks = [recognise(line, words.own(line), present(line, patterns)) for line in log.split("\n")]
    return {patterns[rank].kind for rank in ranks if rank is not None}


@pytest.mark.parametrize(
    ("profile", "log"),
    [
        (LLAMACPP, "CUDA error: an illegal memory access was encountered"),
        (LLAMACPP, "53.26.801.941 E CUDA error: an illegal memory access was encountered"),
        (LLAMACPP, "/app/ggml/src/ggml-cuda/ggml-cuda.cu:97: CUDA error"),
        (LLAMACPP, "ggml_cuda_compute_forward: SCALE failed\nCUDA error: no kernel image is available"),
        (
            LLAMACPP,
            "srv  log_server_r: done request: POST /completion 127.0.0.1 200\nCUDA error: unspecified",
        ),
        (LLAMACPP, "\x1b[31mCUDA error: unspecified launch failure\x1b[0m"),
        (LLAMACPP, "example_format: '<|im_start|>system\nYou are Qwen<|im_end|>\n'\nCUDA error: unspecified"),
        (LLAMACPP, "couldn't say more, but: CUDA error: unspecified launch failure"),
        (VLLM, "ERROR 09-27 06:46:46 engine.py:157] RuntimeError: CUDA error: an illegal memory access"),
        (
            VLLM,
            "(Worker_PP0 pid=2) ERROR 07-15 21:01:01 [core.py:7] torch.AcceleratorError: CUDA error: assert\n\
Search for `cudaErrorAssert' in https://docs.nvidia.com/cuda for more information.",
        ),
        (
            VLLM,
            "INFO 10-01 18:43:27 logger.py:36] Received request cmpl-1: prompt: 'How\\nare you', params: x\n\
terminate called after throwing an instance of 'c10::Error'\n\
  what():  CUDA error: an illegal memory access was encountered",
        ),
        (VLLM, '(APIServer pid=1) INFO: 1.2.3.4:5 - "POST /v1 HTTP/1.1" 200 OK\n[rank0]: CUDA error: launch'),
        (GENERIC, """a "quote" \\' is no quote\nCUDA error: an illegal memory access was encountered"""),
        (GENERIC, '{"message": "prompt: hello"}\nCUDA error: an illegal memory access was encountered'),
        (GENERIC, 'prompt: "what is a CUDA error?"\nCUDA error: an illegal memory access was encountered'),
    ],
)
def test_its_own_words_are_heard(profile: type[EngineProfile], log: str) -> None:
    """B-SUPER-003: CUDA errors in lines as they are really printed, with other lines around them."""
    assert told(profile, log) == {FailureClass.CUDA}


@pytest.mark.parametrize(
    ("profile", "log"),
    [
        (LLAMACPP, "srv  log_server_r: done request: GET /CUDA error 127.0.0.1 404"),
        (LLAMACPP, 'srv  log_server_r: request:  {"prompt": "CUDA error: out of memory"}'),
        (LLAMACPP, 'srv  log_server_r: request:  {"prompt":\n"x"}\nCUDA error: not JSON at all'),
        (LLAMACPP, "srv  log_server_r: request:  {}\nCUDA error: a body of two lines"),
        (LLAMACPP, 'srv  log_server_r: response: {"content": "it is a CUDA error"}'),
        (LLAMACPP, "process_token: n_gen = 1, next token: 198 '\n' \nCUDA error: a model may say anything"),
        (LLAMACPP, "Parsing chat message: hello\nCUDA error: said the model"),
        (LLAMACPP, 'got exception: {"error":{"message":"CUDA error: x"}}'),
        (VLLM, "INFO 10-01 logger.py:36] Received request cmpl-1: prompt: 'CUDA error: x', params: y"),
        (VLLM, "INFO 10-01 logger.py:36] Received request CUDA error: x"),
        (VLLM, "INFO 10-01 logger.py:36] Generated response cmpl-1: output: 'CUDA error: x'"),
        (VLLM, 'DEBUG Request cmpl-1 details: prompt: "it\'s a CUDA error", prompt_token_ids: [1]'),
        (VLLM, '(APIServer pid=1) INFO: 1.2.3.4:5 - "GET /CUDA%20error/CUDA error HTTP/1.1" 404'),
        (VLLM, "ValueError: unknown role 'CUDA error: x'"),
        (VLLM, "ERROR body=b'CUDA error'"),
        (GENERIC, "prompt: please explain CUDA error: out of memory"),
        (GENERIC, "prompt: please explain\nCUDA error: out of memory"),
        (GENERIC, 'prompt: "please explain\nCUDA error: out of memory\n"'),
        (GENERIC, 'prompt: "please explain"\n'.replace('"\n', '"and\n') + "CUDA error: out of memory"),
        (GENERIC, "prompt: 'I don't know\nCUDA error: out of memory'"),
        (GENERIC, 'user said "hello\nCUDA error: out of memory\nbye"'),
        (GENERIC, '{"level": "info", "prompt": "CUDA error"}'),
        (GENERIC, "id 'x' prompt: hello\nCUDA error: out of memory"),
        (GENERIC, "text b'CUDA error'"),
        (GENERIC, 'messages: [{"role": "user", "content": "CUDA error"}]'),
    ],
)
def test_words_of_others_are_not(profile: type[EngineProfile], log: str) -> None:
    """B-SUPER-x1: what a prompt, a path, a request or a model put there convicts nobody."""
    assert told(profile, log) == set()


@pytest.mark.parametrize("lines", [0, 1, 100])
def test_raw_text_that_ran_over_its_line_makes_the_rest_doubtful(lines: int) -> None:
    """Whatever closes it may have been written by whoever wrote the text."""
    words = OwnWords(ECHOES)
    assert words.own("prompt: hello") == 0
    for _ in range(lines):
        assert words.own('" } ended') == 0
    assert words.doubtful
    assert words.own("CUDA error") == 0


def test_a_quote_that_is_nobodys_text_ends_with_its_quote() -> None:
    """Engines show examples of several lines as they start, and that must not make them mute."""
    words = OwnWords(ECHOES)
    assert words.own("example: 'one") == len("example: ")
    assert words.own("two") == 0
    assert words.own("three'") == 0
    assert words.own("CUDA error") == len("CUDA error")


def test_a_mark_within_a_quote_of_several_lines_makes_the_rest_doubtful() -> None:
    """Then it is a user's text after all, also where the quote begins before the mark."""
    words = OwnWords(ECHOES)
    words.own("request 'id")
    words.own("prompt: hello'")
    assert words.doubtful
    words = OwnWords(ECHOES)
    words.own("request 'prompt: hello")
    assert words.doubtful


def test_lines_not_looked_at_may_hold_the_begin_of_a_text() -> None:
    """An engine that was seen to repeat what users write is not trusted after a gap; another one is."""
    silent, talkative = OwnWords(ECHOES), OwnWords(ECHOES)
    talkative.own("prompt: 'hello'")
    silent.skip()
    talkative.skip()
    assert (silent.doubtful, talkative.doubtful) == (False, True)


def test_escaped_text_ends_with_its_line() -> None:
    """Reach.LINE: an engine that escapes line ends loses nothing by what it repeats."""
    words = OwnWords((Echo("said ", Reach.LINE),))
    assert words.own('he said "what') == len("he ")
    assert words.own("CUDA error") == len("CUDA error")


def test_the_first_pattern_wins_and_has_to_begin_in_own_words() -> None:
    """Patterns are tried in their order; one may reach over the quote that it begins before."""
    patterns = (Pattern("gone", FailureClass.EXIT), Pattern("tensor 'x'", FailureClass.BAD_CONFIG), CUDA)
    line = "CUDA error: tensor 'x'"
    known = present(line, patterns)
    assert known == ((1, patterns[1]), (2, CUDA))
    own = OwnWords(()).own(line)
    assert own == line.index("'")
    assert recognise(line, own, known) == 1
    assert recognise(line, 3, known) == 2
    assert recognise(line, 0, known) is None
    assert recognise("nothing", 7, known) is None


def test_a_finding_quotes_what_was_said() -> None:
    """For people."""
    assert str(Finding(1.0, CUDA, "CUDA error 7")) == "it said: 'CUDA error 7'"


def work_for(line: str) -> int:
    """How many lines of Python are run to read a line of a log, and then one more."""
    count = 0

    def counts(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return counts

    words = OwnWords(ECHOES)
    before = sys.gettrace()
    sys.settrace(counts)
    try:
        recognise(line, words.own(line), present(line, VllmProfile.patterns))
        words.own(line)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "piece", ['"', "'", "a'", "'a", "\\", '\\"', "prompt:", 'prompt:"', "x", "\"'", "[("]
)
def test_the_work_grows_no_faster_than_the_line(piece: str) -> None:
    """Hostile lines cost their length: ten times the line takes at most ten times the steps."""
    assert work_for(piece * 10_000) <= 10 * work_for(piece * 1_000)


HOSTILE = st.text(st.sampled_from("\"'\\ap:=romt [{(\x00\n") | st.characters(), max_size=40)


@given(st.lists(HOSTILE, max_size=8))
@example(["prompt:", "'", "'"])
def test_any_text_can_be_read(lines: list[str]) -> None:
    """Never more than the line, never an exception, and once in doubt always in doubt."""
    words, doubted = OwnWords(ECHOES), False
    for line in lines:
        assert 0 <= words.own(line) <= len(line)
        assert words.doubtful or not doubted
        doubted = words.doubtful


@given(st.lists(HOSTILE, max_size=4), HOSTILE)
@example([], "prompt:")
@example(["'"], "x")
def test_plain_text_changes_nothing(before: list[str], text: str) -> None:
    """Passing over lines without any mark or quote leads to the same as reading them."""
    words, other = OwnWords(ECHOES), OwnWords(ECHOES)
    for line in before:
        words.own(line)
        other.own(line)
    if words.is_plain(text):
        words.own(text)
        assert (words.doubtful, words._open, words._repeats) == (other.doubtful, other._open, other._repeats)


@given(st.text(), st.sampled_from(["'", '"']))
def test_whatever_a_user_writes_is_not_heard_from_an_engine_that_escapes_it(text: str, rest: str) -> None:
    """A literal or JSON after a mark, on the same line, however it goes on."""
    words = OwnWords(VllmProfile.echoes)
    line = f"INFO Received request 1: prompt: {text + 'CUDA error'!r}, {rest}"
    assert recognise(line, words.own(line), ((0, CUDA),)) is None

#!/usr/bin/env python3
"""Run llama.cpp's own HTTP server out of the `xllamacpp` package, with `llama-server`'s flags.

    python examples/engine_kit/llama_server.py --model MODEL.gguf --port 8080

The HTTP interface (/health, /completion, /v1/chat/completions, /slots, ...) is llama.cpp's. For a pool,
`make_llama_server` wraps it up as one command. Where the real `llama-server` is installed, use that
instead: nothing else changes.

SIGTERM ends it with exit code 0 once the model is loaded and open requests are through; a client that keeps
a stream open may make that last for ever, so a second SIGTERM ends it at once. A model that does not load,
or a port that is taken, is exit code 1, with llama.cpp's own words in the log.
"""

from __future__ import annotations

import argparse
import signal
import sys

import xllamacpp

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Serve until told to stop; the result is the exit code."""
    options = _options()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # they wait for `sigwait`, whenever they come
    try:
        server = xllamacpp.Server(_parameters(options))  # returns once the model is loaded
    except RuntimeError:
        return _fail(f"cannot serve {options.model} on {options.host}:{options.port}; see the lines above")
    server.handle_metrics()  # passes through its work loop: a stop before that loop runs would be lost
    signal.sigwait(STOP_SIGNALS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # a second one ends us at once
    del server  # lets open requests end
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llama_server", description="llama.cpp's server, from xllamacpp.")
    parser.add_argument("-m", "--model", required=True, help="a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-np", "--parallel", type=int, default=1, help="slots, served at the same time")
    parser.add_argument("-c", "--ctx-size", type=int, default=0, help="tokens in all slots (0: the model's)")
    parser.add_argument("-t", "--threads", type=int, default=2, help="threads that compute")
    return parser.parse_args()


def _parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.parallel
    parameters.n_ctx = options.ctx_size
    parameters.cpuparams.n_threads = options.threads
    parameters.endpoint_metrics = True
    return parameters


def _fail(message: str) -> int:
    print(f"llama_server: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""A stand-in for an OpenAI-compatible endpoint, on a port of this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | int | dict[str, Any] | tuple[int, dict[str, str], str] | None
"""Text of the assistant; a status; a whole message; status, headers and body; or no answer."""


@dataclass
class StandIn:
    """What was asked, and what answers."""

    answer: Callable[[dict[str, Any]], Answer]
    """From the body of a request."""
    fails: Callable[[int], Answer] = lambda _: ""
    """From the number of a request, from 1: what comes instead of an answer; empty for none."""
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def material(body: dict[str, Any]) -> dict[str, Any]:
    """Return the dialogue and the replies of a request."""
    found: dict[str, Any] = json.loads(body["messages"][1]["content"])
    return found


def every_fifth(*failures: Answer) -> Callable[[int], Answer]:
    """Fail every fifth request, with each failure in turn."""
    return lambda number: "" if number % 5 else failures[number // 5 % len(failures)]


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """Serve until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stand_in.lock:
                stand_in.bodies.append(body)
                stand_in.headers.append(dict(self.headers))
                number = len(stand_in.bodies)
            answer = stand_in.fails(number)
            answer = stand_in.answer(body) if answer == "" else answer
            if answer is None:
                time.sleep(0.6)
                return
            status, headers, text = 200, {}, ""
            if isinstance(answer, tuple):
                status, headers, text = answer
            elif isinstance(answer, int):
                status, text = answer, json.dumps({"error": {"message": "no"}})
            else:
                message = answer if isinstance(answer, dict) else {"content": answer}
                usage = {"prompt_tokens": 100, "completion_tokens": 7}
                choice = {"message": {"role": "assistant", **message}, "finish_reason": "stop"}
                text = json.dumps({"choices": [choice], "usage": usage})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Say nothing of who has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

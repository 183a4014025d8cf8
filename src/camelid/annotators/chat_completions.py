"""Questions to a model behind an OpenAI-compatible address: retried, kept, never asked twice.

Each request leaves one line in a file of the run: an answer, or the reason why there is none. What
is answered there is not asked again, so a rerun costs nothing. The key comes from the environment
and is written nowhere. Source: choice.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from camelid.annotators import Endpoint
from camelid.data.annotation import Lineage
from camelid.data.records import read_records
from camelid.errors import ConfigError, EndpointError
from camelid.evaluation.judge import is_refusal
from camelid.run.files import append_jsonl, cut_half_line
from camelid.settings import to_json

LONGEST_WAIT = 120.0
"""Seconds that are waited at most before the next request, whatever the endpoint asks for."""
LONGEST_BODY = 2**22
"""Bytes of an answer that are read."""
_AGAIN = (408, 409, 425, 429)
"""What an endpoint says that may be otherwise later, beside all from 500 on."""

NONSENSE = "nonsense"
"""Reason of a failure: an answer came, and was none to the question."""

Outcome = Literal["answer", "refusal", "failure"]
Question = tuple[dict[str, str], ...]
"""Messages with role and content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What came of one request."""

    key: str
    """Hash of the address and of the whole question."""
    outcome: Outcome
    """A refusal is an answer too: it is not asked again."""
    text: str
    """The answer, or the reason of a failure."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """As the endpoint reports them; 0 where it does not."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """One request."""

    request: Request
    detail: str = ""
    """What a failure says."""
    final: bool = False
    """Whether asking again is of no use."""
    wait: float = 0.0
    """Seconds that the endpoint asks to wait."""


class _Failed(NamedTuple):
    """Why no more is asked."""

    tries: int
    detail: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go along to wherever it leads."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return nothing, so that the redirect is an error that says where it leads."""


class Asker:
    """Asks an endpoint, several questions at once.

    Args:
        settings: Address, model and bounds.
        log: File with a line for each request, read at the start.
        tell: Called with the number of answers and of questions while there are more to come.
    """

    def __init__(self, settings: Endpoint, log: Path, tell: Callable[[int, int], None]) -> None:
        self.settings, self.log, self._tell = settings, log, tell
        self._url = f"{settings.url.rstrip('/')}/chat/completions"
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._failed: _Failed | None = None
        self.requests: list[Request] = []
        if log.is_file():
            cut_half_line(log)
            self.requests = read_records(log, Request)
        self._known = {found.key: found for found in self.requests if found.outcome != "failure"}

    def ask(
        self, questions: Sequence[Question], usable: Sequence[Callable[[str], bool]]
    ) -> list[Request]:
        """Return what came of each question, in their order.

        Args:
            questions: Messages of each.
            usable: For each, whether an answer is one; else it is asked for again.

        Returns:
            An answer or a refusal each; a failure where only unusable answers came. Equal
            questions are one.

        Raises:
            EndpointError: The endpoint gives no answer; what it answered so far is kept.
            ConfigError: The environment holds no key.
        """
        key = self._key()
        self._stop.clear()
        self._failed = None
        bodies = [self._body(question) for question in questions]
        unique = dict(zip(bodies, usable, strict=True))
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                answers: dict[str, Request] = {}
                for found in pool.map(self._ask, unique, unique.values(), repeat(key)):
                    answers[found.key] = found
                    self._tell(len(answers), len(unique))
            except BaseException:
                # The others end at their next wait; what they are answered until then is kept.
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [answers[self._name(body)] for body in bodies]

    def lineage(self, name: str) -> Lineage:
        """Return what was asked of it in all, and what that cost."""
        failed = Counter(found.text for found in self.requests if found.outcome == "failure")
        return Lineage(
            annotator=name,
            source=self.settings.url,
            requests=len(self.requests),
            failed=dict(sorted(failed.items())),
            prompt_tokens=sum(found.prompt_tokens for found in self.requests),
            completion_tokens=sum(found.completion_tokens for found in self.requests),
        )

    def _key(self) -> str | None:
        variable = self.settings.key_variable
        if variable is None:
            return None
        if not (key := os.environ.get(variable, "").strip()):
            raise ConfigError(
                f"The environment variable {variable} is empty or not set; put the key of "
                f"{self.settings.url} there, or name another one (key_variable)."
            )
        return key

    def _body(self, question: Question) -> str:
        settings = self.settings
        options = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        given = {name: value for name, value in options.items() if value is not None}
        return json.dumps({"model": settings.model, "messages": question, **given}, sort_keys=True)

    def _name(self, body: str) -> str:
        return sha256(f"{self._url}\n{body}".encode()).hexdigest()

    def _ask(self, body: str, usable: Callable[[str], bool], key: str | None) -> Request:
        settings, name = self.settings, self._name(body)
        if name in self._known:
            return self._known[name]
        wait = settings.wait_seconds
        for number in range(1, settings.tries + 1):
            if self._failed is not None:
                self._give_up(self._failed)
            tried = self._request(name, body, usable, key)
            with self._lock:
                append_jsonl(self.log, to_json(tried.request))
                self.requests.append(tried.request)
                if tried.request.outcome != "failure":
                    self._known[name] = tried.request
            if tried.request.outcome != "failure":
                return tried.request
            if tried.final or number == settings.tries:
                break
            if self._stop.wait(min(max(wait, tried.wait), LONGEST_WAIT)):
                break
            wait *= 2
        if tried.request.text == NONSENSE and settings.nonsense == "leave_out":
            return tried.request
        with self._lock:
            # All questions end with the first failure, which the others only follow.
            self._failed = self._failed or _Failed(number, tried.detail)
        self._stop.set()
        return self._give_up(self._failed)

    def _give_up(self, failed: _Failed) -> NoReturn:
        raise EndpointError(
            f"{self._url}, model {self.settings.model}: no usable answer to a question in "
            f"{failed.tries} of at most {self.settings.tries} tries; the last time: "
            f"{failed.detail}. Answers so far ({len(self._known)}) are kept in {self.log} and "
            "not asked for again: the same command goes on once the endpoint answers."
        )

    def _request(
        self, name: str, body: str, usable: Callable[[str], bool], key: str | None
    ) -> _Tried:
        def failure(text: str, detail: str, *, final: bool = False, wait: float = 0.0) -> _Tried:
            request = Request(key=name, outcome="failure", text=text)
            # Some endpoints quote the key that they refuse.
            shown = detail.replace(key, "[key]") if key else detail
            return _Tried(request, f"{text} ({' '.join(shown.split())[:200]})", final, wait)

        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        # The settings take http and https only.
        asked = urllib.request.Request(self._url, body.encode(), headers)  # noqa: S310
        try:
            with self._open(asked, timeout=self.settings.timeout_seconds) as answer:
                found = answer.read(LONGEST_BODY)
        except urllib.error.HTTPError as error:
            return failure(
                f"HTTP {error.code}",
                _advice(error, key is not None) + error.read(1000).decode(errors="replace"),
                final=error.code < 500 and error.code not in _AGAIN,
                wait=_seconds(error.headers.get("Retry-After", "")),
            )
        except (OSError, http.client.HTTPException) as error:
            # `urlopen` wraps what goes wrong before the answer begins.
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                return failure("timeout", f"no data for {self.settings.timeout_seconds:g} s")
            return failure("no connection", str(cause) or type(cause).__name__)
        try:
            whole = json.loads(found)
            first = whole["choices"][0]
            message = first["message"]
            text, refusal = message.get("content") or "", message.get("refusal")
            spent = whole.get("usage") or {}
            tokens = [int(spent.get(f"{side}_tokens") or 0) for side in ("prompt", "completion")]
            filtered = first.get("finish_reason") == "content_filter"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return failure(NONSENSE, f"no chat completion: {found[:100].decode(errors='replace')}")
        outcome: Outcome = "failure"
        if isinstance(text, str) and usable(text):
            outcome = "answer"
        elif refusal or filtered or is_refusal(str(text)):
            outcome = "refusal"
        request = Request(
            key=name,
            outcome=outcome,
            text=NONSENSE if outcome == "failure" else str(refusal or text),
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
        )
        return _Tried(request, f"{NONSENSE} ({' '.join(str(text).split())[:200]!r})")


def _advice(error: urllib.error.HTTPError, has_key: bool) -> str:
    """Return what to do about a status that stays."""
    if error.code in (401, 403):
        return "the key is refused: " if has_key else "set key_variable to the name of one: "
    if 300 <= error.code < 400:
        return f"redirects are not followed; name that address: {error.headers.get('Location')} "
    return ""


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0

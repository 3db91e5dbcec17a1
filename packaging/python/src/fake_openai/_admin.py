"""Calls of the admin API."""

from __future__ import annotations

import http.client
import json
from typing import Any, Mapping, Optional
from urllib.parse import urlencode, urlsplit


class FakeOpenAIError(Exception):
    """The server did not start, or refused a call. The text is the server's."""


class Admin:
    """The admin API of one server."""

    def __init__(self, url: str, token: Optional[str] = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise FakeOpenAIError(f"url: {url!r} is no URL of a server; write it like http://127.0.0.1:8080")
        self.url = f"http://{parts.netloc}"
        self._address = (parts.hostname, parts.port or 80)
        self._token = token

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Optional[Mapping[str, Optional[str]]] = None,
        timeout: float = 30.0,
        accepted: tuple[int, ...] = (),
    ) -> tuple[int, Any]:
        """Returns the status and the body. A status that is no success and not ``accepted`` is an error."""
        __tracebackhide__ = True
        # Not urllib, and no shared connection: no proxy of the environment comes between, and threads may call at once.
        connection = http.client.HTTPConnection(*self._address, timeout=timeout)
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"/__admin{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        try:
            connection.request(method, target, payload, headers)
            response = connection.getresponse()
            status, text = response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise FakeOpenAIError(f"{method} {self.url}{target}: no response: {error}") from error
        finally:
            connection.close()
        if (parameters or {}).get("format") == "jsonl" and status == 200:
            return status, [json.loads(line) for line in text.splitlines()]
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = text
        if not 200 <= status < 300 and status not in accepted:
            raise FakeOpenAIError(f"{method} /__admin{path}: {message_of(value) or status}")
        return status, value


def message_of(value: Any) -> Optional[str]:
    """The text of an error, in the form of any provider."""
    if isinstance(value, Mapping):
        error = value.get("error", value)
        if isinstance(error, Mapping):
            error = error.get("message")
        if isinstance(error, str):
            return error
        message = value.get("message")
        return message if isinstance(message, str) else None
    return value if isinstance(value, str) and value else None

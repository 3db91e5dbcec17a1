"""A scope of a server: what a test scripts in it, and what it has received."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Union
from urllib.parse import quote

from ._admin import Admin, message_of

JSON = Any
When = Mapping[str, Any]


@dataclass(frozen=True)
class Received:
    """A request that the server has received, and what became of it."""

    id: str
    method: str
    #: Without the scope and faults in front of it.
    path: str
    query: str
    #: Names are in lower case. Values of secrets are masked.
    headers: Mapping[str, str]
    #: The parsed JSON; a text if it is none; None if it is longer than ``--journal-body``.
    body: JSON
    model: Optional[str]
    stream: bool
    #: None while the response has not begun.
    status: Optional[int]
    #: complete, client_left, fault or drained; None while the response is being sent.
    outcome: Optional[str]
    #: The whole entry of the journal.
    entry: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Received:
        request, response = entry["request"], entry.get("response") or {}
        return cls(
            id=entry["id"],
            method=request["method"],
            path=re.sub(r"^(/~[^/]*)+", "", request["path"]) or "/",
            query=request.get("query") or "",
            headers=request.get("headers") or {},
            body=request["body"] if "body" in request else request.get("body_text"),
            model=request.get("model") or None,
            stream=bool(request.get("stream")),
            status=response.get("status"),
            outcome=response.get("outcome"),
            entry=entry,
        )


class Scope:
    """A space of its own on a server: limits, faults, replies, stored objects and requests are separate."""

    #: The URL without an API's path, for clients that add theirs.
    url: str
    #: The URL of the OpenAI API.
    base_url: str

    def __init__(self, admin: Admin, name: Optional[str]) -> None:
        self._admin = admin
        self.name = name
        self.url = admin.url + (f"/~scope={name}" if name else "")
        self.base_url = f"{self.url}/v1"

    def scope(self, name: str) -> Scope:
        """Another scope of the same server: 1 to 64 characters of ``A-Z a-z 0-9 _ . -``."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
            raise ValueError(f"scope: {name!r} is no name; use 1 to 64 characters of A-Z a-z 0-9 _ . -")
        return Scope(self._admin, name)

    # What a client needs.

    def openai(self, **more: Any) -> dict[str, Any]:
        """Arguments of ``OpenAI`` and ``AsyncOpenAI``."""
        return {"base_url": self.base_url, "api_key": "sk-fake", **more}

    def azure(self, **more: Any) -> dict[str, Any]:
        """Arguments of ``AzureOpenAI``."""
        return {"azure_endpoint": self.url, "api_key": "fake", "api_version": "2024-10-21", **more}

    def anthropic(self, **more: Any) -> dict[str, Any]:
        """Arguments of ``Anthropic`` and ``AsyncAnthropic``."""
        return {"base_url": self.url, "api_key": "sk-ant-fake", **more}

    def gemini(self, **more: Any) -> dict[str, Any]:
        """Arguments of ``google.genai.Client``."""
        return {"api_key": "fake", "http_options": {"base_url": f"{self.url}/gemini"}, **more}

    def env(self) -> dict[str, str]:
        """Environment variables that SDKs read."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": "sk-fake",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-ant-fake",
            "GOOGLE_GEMINI_BASE_URL": f"{self.url}/gemini",
            "GEMINI_API_KEY": "fake",
        }

    # What the server does.

    def reply(self, text: Optional[str] = None, *, when: Optional[When] = None, **keys: Any) -> dict[str, Any]:
        """Scripts a reply. ``keys`` are those of a reply: ``tool_calls``, ``sequence``, ``times``, ``usage`` …"""
        __tracebackhide__ = True
        reply: dict[str, Any] = {} if when is None else {"when": dict(when)}
        if text is not None:
            reply["text"] = text
        return self._admin.call("POST", "/replies", {**reply, **keys}, query=self._query())[1]

    def fault(self, fault: str, *, when: Optional[When] = None) -> dict[str, Any]:
        """Injects a fault, such as ``429x2`` or ``cut@40``, into the requests that match."""
        __tracebackhide__ = True
        rule: dict[str, Any] = {"fault": fault} if when is None else {"when": dict(when), "fault": fault}
        return self._admin.call("POST", "/rules", rule, query=self._query())[1]

    def strict(self, strict: bool = True) -> None:
        """Fails requests that no reply of this scope matches, in place of the built-in reply."""
        __tracebackhide__ = True
        if self.name is None:
            raise ValueError("strict: the server's default scope has no such switch; use `scope(name).strict()`")
        self._admin.call("PUT", f"/scopes/{quote(self.name)}", {"strict": strict})

    def reset(self) -> None:
        """Forgets requests, replies, faults, progress, limits and objects."""
        self._admin.call("POST", "/reset", query=self._query())

    def drop(self) -> None:
        """Ends the scope: as ``reset``, and its name is free again."""
        if self.name is None:
            self.reset()
        else:
            self._admin.call("DELETE", f"/scopes/{quote(self.name)}", accepted=(404,))

    # What the server has received.

    @property
    def requests(self) -> list[Received]:
        """The requests, oldest first."""
        return [Received.of(entry) for entry in self._entries()]

    def verify(
        self,
        when: Optional[When] = None,
        *,
        times: Optional[int] = None,
        at_least: Optional[int] = None,
        at_most: Optional[int] = None,
        within: Union[str, float, None] = None,
        **conditions: Any,
    ) -> None:
        """Raises an ``AssertionError`` with the nearest request unless the number of matching requests is right.

        Conditions are keys (``model="gpt-4o"``, ``user="*weather*"``) or ``when``. Without a number: at least one.
        ``within`` is a time to wait, in seconds or as ``"2s"``.
        """
        __tracebackhide__ = True
        bounds = {"at_least": at_least, "at_most": at_most}
        count = {name: bound for name, bound in bounds.items() if bound is not None}
        if times is not None and count:
            raise ValueError("verify: `times` is an exact number; use it, or `at_least` and `at_most`")
        verification: dict[str, Any] = {"when": {**(when or {}), **conditions}}
        if times is not None or count:
            verification["count"] = count if times is None else times
        self._verify(verification, within)

    def verify_in_order(self, *steps: When, within: Union[str, float, None] = None) -> None:
        """Raises an ``AssertionError`` unless requests have met these conditions one after the other."""
        __tracebackhide__ = True
        self._verify({"in_order": [dict(step) for step in steps]}, within)

    def summary(self) -> str:
        """The requests in words, a line each, with the errors that they got."""
        entries = self._entries()
        lines = [f"{len(entries)} request{'' if len(entries) == 1 else 's'} at {self.url}"]
        for number, entry in enumerate(entries):
            received = Received.of(entry)
            faults = ", ".join(entry.get("faults") or [])
            reply = entry.get("reply")
            parts = [
                f"{number + 1}.",
                f"{received.method} {received.path}",
                f"model={received.model}" if received.model else "",
                str(received.status) if received.status else "no response",
                received.outcome if received.outcome not in (None, "complete") else "",
                f"faults={faults}" if faults else "",
                f"reply={reply}" if reply else "",
            ]
            lines.append(" ".join(part for part in parts if part))
            if (received.status or 0) >= 400:
                lines.extend(f"   {line}" for line in (self._error(received.id) or "").splitlines())
        return "\n".join(lines)

    def _error(self, id: str) -> Optional[str]:
        status, entry = self._admin.call("GET", f"/requests/{id}", accepted=(404,))
        response = (entry.get("response") or {}) if status == 200 else {}
        return message_of(response.get("body", response.get("body_text")))

    def _entries(self) -> list[dict[str, Any]]:
        return self._admin.call("GET", "/requests", query={**self._query(), "format": "jsonl"})[1]

    def _verify(self, verification: dict[str, Any], within: Union[str, float, None]) -> None:
        __tracebackhide__ = True
        if within is not None:
            verification["within"] = within if isinstance(within, str) else f"{round(within * 1000)}ms"
        if self.name is not None:
            verification["scope"] = self.name
        # The server bounds the wait at an hour.
        status, result = self._admin.call("POST", "/verify", verification, timeout=3630.0, accepted=(422,))
        if status == 422:
            raise AssertionError(result["message"])

    def _query(self) -> dict[str, Optional[str]]:
        return {"scope": self.name}

    def __repr__(self) -> str:
        return f"<Scope {self.url}>"

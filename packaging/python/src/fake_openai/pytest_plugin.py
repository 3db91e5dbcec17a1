"""The pytest plugin: a server for each worker, and a scope of it for each test."""

from __future__ import annotations

import os
import re
import shlex
from itertools import count
from typing import Any, Generator, Iterator, Optional

import pytest

from ._admin import FakeOpenAIError
from ._scope import Scope
from ._server import FakeOpenAI

_SCOPE = pytest.StashKey[Scope]()
_TITLE = "fake_openai"
#: Tells apart the tests of this process, and this process from others that use the same server.
_NUMBERS = count(1)
_PROCESS = os.urandom(3).hex()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fake-openai", "fake LLM server")
    group.addoption("--fake-openai-args", metavar="ARGS", help="flags of the fake-openai server: '--rpm 100'")
    group.addoption("--fake-openai-url", metavar="URL", help="a fake-openai server that runs already, to start none")
    parser.addini("fake_openai_args", "flags of the fake-openai server", type="args", default=[])
    parser.addini("fake_openai_url", "a fake-openai server that runs already, to start none", default="")


@pytest.fixture(scope="session")
def fake_openai_server(pytestconfig: pytest.Config) -> Iterator[Scope]:
    """The server of this worker process. Override it to start another one."""
    url = pytestconfig.getoption("--fake-openai-url") or pytestconfig.getini("fake_openai_url")
    if url:
        yield FakeOpenAI.at(url, os.environ.get("FAKE_OPENAI_ADMIN_TOKEN"))
        return
    line = pytestconfig.getoption("--fake-openai-args")
    args = pytestconfig.getini("fake_openai_args") if line is None else shlex.split(line)
    with FakeOpenAI(*args) as server:
        yield server


@pytest.fixture
def fake_openai(request: pytest.FixtureRequest, fake_openai_server: Scope) -> Iterator[Scope]:
    """A fake LLM server for this test: a scope of its own, which ends with the test."""
    scope = fake_openai_server.scope(_name(request.node.name))
    request.node.stash[_SCOPE] = scope
    yield scope
    scope.drop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    scope: Optional[Scope] = item.stash.get(_SCOPE, None)
    if report.failed and report.when != "teardown" and scope is not None:
        try:
            text = scope.summary()
        except FakeOpenAIError as error:
            text = str(error)
        report.sections.append((_TITLE, text))


def _name(test: str) -> str:
    """A scope's name: unique, and readable in the journal."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", test)[:40]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")[:6]
    return f"{readable}.{worker}.{_PROCESS}{next(_NUMBERS)}"

"""A fake LLM server for tests.

    with FakeOpenAI("--rpm", "100") as server:
        client = OpenAI(**server.openai())

In pytest, the fixture ``fake_openai`` is such a server with a scope for each test.
"""

from ._admin import FakeOpenAIError
from ._scope import Received, Scope
from ._server import FakeOpenAI, binary

__all__ = ["FakeOpenAI", "FakeOpenAIError", "Received", "Scope", "binary"]

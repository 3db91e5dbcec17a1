import http.client
import json

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def ask(fake_openai):
    """Sends a chat without an SDK, and returns the status and the body."""

    def send(content="Hi", scope=fake_openai, **members):
        connection = http.client.HTTPConnection(scope.url.split("/")[2])
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **members}
        path = "/" + scope.base_url.split("/", 3)[3] + "/chat/completions"
        connection.request("POST", path, json.dumps(body), {"x-team": "red"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text)

    return send

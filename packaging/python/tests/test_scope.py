"""The scope of a test, without an SDK."""

import pytest

from fake_openai import FakeOpenAIError


def test_a_verification_that_fails_shows_the_nearest_request(fake_openai, ask):
    ask("How is the weather?", model="gpt-4o-mini")
    with pytest.raises(AssertionError) as error:
        fake_openai.verify(model="gpt-4o", times=2)
    assert 'model: expected "gpt-4o", got "gpt-4o-mini"' in str(error.value)
    with pytest.raises(FakeOpenAIError, match="did you mean `model`"):
        fake_openai.verify(modle="gpt-4o")
    with pytest.raises(ValueError, match="exact number"):
        fake_openai.verify(times=1, at_most=2)


def test_numbers_of_requests_are_exact_or_bounds(fake_openai, ask):
    for _ in range(2):
        ask()
    fake_openai.verify()
    fake_openai.verify(times=2)
    fake_openai.verify({"header": {"x-team": "red"}}, at_least=1, at_most=2, within=1)
    fake_openai.verify(user="never", times=0)
    with pytest.raises(AssertionError):
        fake_openai.verify(at_least=3)


def test_a_request_has_what_was_sent_and_what_became_of_it(fake_openai, ask):
    fake_openai.fault("503", when={"user": "fail*"})
    ask("fail please")
    [request] = fake_openai.requests
    assert (request.method, request.path, request.model) == ("POST", "/v1/chat/completions", "gpt-4o")
    assert (request.status, request.outcome, request.stream) == (503, "complete", False)
    assert request.body["messages"][0]["content"] == "fail please"
    assert request.headers["x-team"] == "red"
    assert request.entry["faults"] == ["503"]


def test_a_long_prompt_is_kept(fake_openai, ask):
    ask("word " * 20_000)
    assert len(fake_openai.requests[0].body["messages"][0]["content"]) == 100_000


def test_reset_forgets_replies_faults_and_requests(fake_openai, ask):
    fake_openai.reply("mine")
    fake_openai.fault("503")
    assert ask()[0] == 503
    fake_openai.reset()
    assert fake_openai.requests == []
    status, body = ask()
    assert status == 200 and body["choices"][0]["message"]["content"] != "mine"


def test_strict_fails_what_no_reply_matches(fake_openai, ask):
    fake_openai.strict()
    fake_openai.reply("Sunny.", when={"user": "*weather*"})
    assert ask("weather")[0] == 200
    assert ask("else")[0] >= 400
    assert '"*weather*", got "else"' in fake_openai.summary()


def test_other_scopes_are_untouched(fake_openai, fake_openai_server, ask):
    other = fake_openai_server.scope(f"{fake_openai.name[:50]}.other")
    fake_openai.fault("503")
    fake_openai.reply("mine")
    status, body = ask(scope=other)
    assert status == 200 and body["choices"][0]["message"]["content"] != "mine"
    assert fake_openai.requests == [] and len(other.requests) == 1
    other.drop()
    with pytest.raises(ValueError, match="is no name"):
        fake_openai_server.scope("with space")


def test_clients_of_other_providers_find_their_paths(fake_openai):
    root = fake_openai.url
    assert fake_openai.openai(max_retries=0) == {"base_url": f"{root}/v1", "api_key": "sk-fake", "max_retries": 0}
    assert fake_openai.anthropic()["base_url"] == fake_openai.azure()["azure_endpoint"] == root
    assert fake_openai.gemini()["http_options"] == {"base_url": f"{root}/gemini"}
    assert fake_openai.env()["OPENAI_BASE_URL"] == f"{root}/v1"

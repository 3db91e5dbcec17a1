"""What tests of an agent do: a tool call, errors, and assertions on what was sent, with openai-python."""

import json

import pytest
from openai import AsyncOpenAI, InternalServerError, OpenAI

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def agent(client, question):
    """Calls tools until the model replies with a text."""
    messages = [{"role": "user", "content": question}]
    while True:
        message = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[TOOL]).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            city = json.loads(call.function.arguments)["city"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"24 °C in {city}"})


def test_an_agent_calls_a_tool_and_uses_its_result(fake_openai):
    call = {"name": "get_weather", "arguments": {"city": "Rome"}}
    fake_openai.reply(when={"user": "*weather*", "tool_result": False}, tool_calls=[call])
    fake_openai.reply("Sunny, 24 °C.", when={"tool_result": True})

    assert agent(OpenAI(**fake_openai.openai()), "How is the weather?") == "Sunny, 24 °C."

    fake_openai.verify(model="gpt-4o", tool="get_weather", times=2)
    fake_openai.verify_in_order({"tool_result": False}, {"tool_result": True})
    assert fake_openai.requests[1].body["messages"][-1]["content"] == "24 °C in Rome"
    assert fake_openai.requests[1].headers["content-type"] == "application/json"


def test_a_client_recovers_from_a_sequence_of_errors(fake_openai):
    fake_openai.reply("At last.")
    fake_openai.fault("429x1~retry-after-ms=20")
    fake_openai.fault("503x1~retry-after-ms=20")
    messages = [{"role": "user", "content": "Hi"}]

    completion = OpenAI(**fake_openai.openai()).chat.completions.create(model="gpt-4o", messages=messages)

    assert completion.choices[0].message.content == "At last."
    # The newest rule wins.
    assert [request.status for request in fake_openai.requests] == [503, 429, 200]


def test_replies_of_a_sequence_follow_each_other(fake_openai, ask):
    fake_openai.reply(sequence=[{"text": "one"}, {"text": "two"}])
    assert [ask()[1]["choices"][0]["message"]["content"] for _ in range(3)] == ["one", "two", "two"]


def test_an_error_reaches_the_caller(fake_openai):
    fake_openai.fault("500")
    client = OpenAI(**fake_openai.openai(max_retries=0))
    with pytest.raises(InternalServerError):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])


def test_an_async_client_streams(fake_openai):
    import asyncio

    async def stream():
        async with AsyncOpenAI(**fake_openai.openai()) as client:
            messages = [{"role": "user", "content": "Hi"}]
            chunks = await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
            return [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]

    fake_openai.reply(chunks=["Hel", "lo"])
    assert "".join(asyncio.run(stream())) == "Hello"
    assert fake_openai.requests[0].stream and fake_openai.requests[0].outcome == "complete"

from openai import OpenAI


def test_the_agent_looks_the_weather_up(fake_openai):
    call = {"name": "get_weather", "arguments": {"city": "Rome"}}
    fake_openai.reply(when={"user": "*weather*", "tool_result": False}, tool_calls=[call])
    fake_openai.reply("Sunny.", when={"tool_result": True})
    fake_openai.fault("429x1~retry-after=0.1")

    assert agent(OpenAI(**fake_openai.openai()), "How is the weather in Rome?") == "Sunny."

    fake_openai.verify(model="gpt-4o", tool="get_weather", status=200, times=2)
    assert fake_openai.requests[-1].body["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "24 °C"}

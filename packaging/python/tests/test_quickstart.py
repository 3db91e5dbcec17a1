from openai import OpenAI


def ask(client, question):  # the code under test
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content


def test_weather(fake_openai):
    fake_openai.reply("Sunny.", when={"user": "*weather*"})
    fake_openai.fault("429x1~retry-after-ms=50")

    assert ask(OpenAI(**fake_openai.openai()), "How is the weather?") == "Sunny."

    fake_openai.verify(model="gpt-4o", status=429, times=1)
    assert fake_openai.requests[-1].body["messages"][-1]["content"] == "How is the weather?"

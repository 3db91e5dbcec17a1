// What tests of an agent do: a tool call, errors, and assertions on what was sent, with openai-node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fakeOpenAI } from "fake-openai/node-test";
import OpenAI from "openai";

const fake = fakeOpenAI();
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];

/** Calls tools until the model replies with a text. */
async function agent(client, question) {
  const messages = [{ role: "user", content: question }];
  for (;;) {
    const completion = await client.chat.completions.create({ model: "gpt-4o", messages, tools });
    const { message } = completion.choices[0];
    if (!message.tool_calls) return message.content;
    messages.push(message);
    for (const call of message.tool_calls) {
      const { city } = JSON.parse(call.function.arguments);
      messages.push({ role: "tool", tool_call_id: call.id, content: `24 °C in ${city}` });
    }
  }
}

test("an agent calls a tool and uses its result", async () => {
  const call = { name: "get_weather", arguments: { city: "Rome" } };
  await fake.reply({ when: { user: "*weather*", tool_result: false }, tool_calls: [call] });
  await fake.reply("Sunny, 24 °C.", { when: { tool_result: true } });

  assert.equal(await agent(new OpenAI(fake.openai()), "How is the weather?"), "Sunny, 24 °C.");

  await fake.verify({ model: "gpt-4o", tool: "get_weather" }, { times: 2 });
  await fake.verifyInOrder([{ tool_result: false }, { tool_result: true }]);
  assert.equal((await fake.requests())[1].body.messages.at(-1).content, "24 °C in Rome");
});

test("a client recovers from a sequence of errors", async () => {
  await fake.reply("At last.");
  await fake.fault("429x1~retry-after-ms=20");
  await fake.fault("503x1~retry-after-ms=20");
  const messages = [{ role: "user", content: "Hi" }];
  const completion = await new OpenAI(fake.openai()).chat.completions.create({ model: "gpt-4o", messages });
  assert.equal(completion.choices[0].message.content, "At last.");
  // The newest rule wins.
  assert.deepEqual((await fake.requests()).map((request) => request.status), [503, 429, 200]);
});

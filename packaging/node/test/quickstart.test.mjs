import assert from "node:assert/strict";
import { test } from "node:test";
import { fakeOpenAI } from "fake-openai/node-test"; // or fake-openai/vitest, fake-openai/jest
import OpenAI from "openai";

const fake = fakeOpenAI();

async function ask(client, question) { // the code under test
  const messages = [{ role: "user", content: question }];
  return (await client.chat.completions.create({ model: "gpt-4o", messages })).choices[0].message.content;
}

test("weather", async () => {
  await fake.reply("Sunny.", { when: { user: "*weather*" } });
  await fake.fault("429x1~retry-after-ms=50");

  assert.equal(await ask(new OpenAI(fake.openai()), "How is the weather?"), "Sunny.");

  await fake.verify({ model: "gpt-4o", status: 429 }, { times: 1 });
  const [, sent] = await fake.requests();
  assert.equal(sent.body.messages[0].content, "How is the weather?");
});

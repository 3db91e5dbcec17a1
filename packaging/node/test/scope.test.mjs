// The scope of a test, without an SDK.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeOpenAIError } from "fake-openai";
import { fakeOpenAI } from "fake-openai/node-test";
import { ask } from "./ask.mjs";

const fake = fakeOpenAI({ args: ["--models", "gpt-4o,gpt-4o-mini"] });

test("a verification that fails shows the nearest request", async () => {
  await ask(fake, "Hi", { model: "gpt-4o-mini" });
  const near = /model: expected "gpt-4o", got "gpt-4o-mini"/;
  await assert.rejects(fake.verify({ model: "gpt-4o" }, { times: 2 }), { name: "AssertionError", message: near });
  await assert.rejects(fake.verify({ modle: "gpt-4o" }), { name: "FakeOpenAIError", message: /did you mean `model`/ });
  await assert.rejects(fake.verify({}, { times: 1, atMost: 2 }), /exact number/);
});

test("numbers of requests are exact or bounds", async () => {
  await ask(fake);
  await ask(fake);
  await fake.verify();
  await fake.verify({}, { times: 2 });
  await fake.verify({ header: { "x-team": "red" } }, { atLeast: 1, atMost: 2, within: 1000 });
  await fake.verify({ user: "never" }, { times: 0 });
  await assert.rejects(fake.verify({}, { atLeast: 3 }));
});

test("a request has what was sent and what became of it", async () => {
  await fake.fault("503", { when: { user: "fail*" } });
  await ask(fake, "fail please");
  const [request, ...others] = await fake.requests();
  assert.deepEqual(others, []);
  const { method, path, model, status, outcome, stream, headers } = request;
  assert.deepEqual([method, path, model], ["POST", "/v1/chat/completions", "gpt-4o"]);
  assert.deepEqual([status, outcome, stream, headers["x-team"]], [503, "complete", false, "red"]);
  assert.equal(request.body.messages[0].content, "fail please");
  assert.match(await fake.summary(), /^1 request at .*\n1\. POST \/v1\/chat\/completions model=gpt-4o 503 faults=503\n   \S/);
});

test("reset forgets replies, faults and requests", async () => {
  await fake.reply("mine");
  await fake.fault("503");
  assert.equal((await ask(fake)).status, 503);
  await fake.reset();
  assert.deepEqual(await fake.requests(), []);
  const { status, body } = await ask(fake);
  assert.equal(status, 200);
  assert.notEqual(body.choices[0].message.content, "mine");
});

test("strict fails what no reply matches", async () => {
  await fake.strict();
  await fake.reply("Sunny.", { when: { user: "*weather*" } });
  assert.equal((await ask(fake, "weather")).status, 200);
  assert.ok((await ask(fake, "else")).status >= 400);
  assert.match(await fake.summary(), /"\*weather\*", got "else"/);
});

test("other scopes are untouched", async () => {
  const other = fake.scope("another");
  await fake.fault("503");
  assert.equal((await ask(other)).status, 200);
  assert.deepEqual(await fake.requests(), []);
  assert.equal((await other.requests()).length, 1);
  await other.drop();
  assert.throws(() => fake.scope("with space"), /is no name/);
});

test("replies of a sequence follow each other", async () => {
  await fake.reply({ sequence: [{ text: "one" }, { text: "two" }] });
  const texts = [];
  for (let index = 0; index < 3; index++) texts.push((await ask(fake)).body.choices[0].message.content);
  assert.deepEqual(texts, ["one", "two", "two"]);
});

describe("scopes of tests", () => {
  for (const number of [1, 2, 3]) {
    test(`test ${number} has a scope of its own`, async () => {
      assert.deepEqual(await fake.requests(), []);
      await ask(fake);
      assert.match(fake.url, new RegExp(`/~scope=test-${number}-has-a-scope-of-its-own\\.`));
    });
  }
});

test("clients of other providers find their paths", () => {
  const { url } = fake;
  assert.deepEqual(fake.openai({ maxRetries: 0 }), { baseURL: `${url}/v1`, apiKey: "sk-fake", maxRetries: 0 });
  assert.equal(fake.anthropic().baseURL, url);
  assert.equal(fake.azure().endpoint, url);
  assert.equal(fake.gemini().httpOptions.baseUrl, `${url}/gemini`);
  assert.equal(fake.env().OPENAI_BASE_URL, `${url}/v1`);
  assert.equal(FakeOpenAIError.name, "FakeOpenAIError");
});

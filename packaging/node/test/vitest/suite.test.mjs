import { fakeOpenAI } from "fake-openai/vitest";
import { beforeEach, describe, expect, test } from "vitest";
import { ask } from "../ask.mjs";

const fake = fakeOpenAI({ args: ["--rpm", "100"] });
let before;
beforeEach(() => {
  before = fake.url;
});

describe("scopes", () => {
  test.each([1, 2, 3])("test %i has a scope of its own", async (number) => {
    expect(await fake.requests()).toEqual([]);
    await fake.fault("429x1");
    await fake.reply(`reply ${number}`);
    expect((await ask(fake)).status).toBe(429);
    expect((await ask(fake)).body.choices[0].message.content).toBe(`reply ${number}`);
    expect(fake.url).toBe(before);
    expect(fake.name).toContain(`test-${number}-has`);
    await fake.verify({ status: 429 }, { times: 1 });
    await expect(fake.verify({ model: "gpt-5" })).rejects.toThrow("nearest request");
  });
});

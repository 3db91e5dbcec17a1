const { fakeOpenAI } = require("fake-openai/jest");

const fake = fakeOpenAI({ args: ["--rpm", "100"] });
let before;
beforeEach(() => {
  before = fake.url;
});

async function ask() {
  const body = JSON.stringify({ model: "gpt-4o", messages: [{ role: "user", content: "Hi" }] });
  const response = await fetch(`${fake.baseURL}/chat/completions`, { method: "POST", body });
  return { status: response.status, body: await response.json() };
}

describe("scopes", () => {
  test.each([1, 2, 3])("test %i has a scope of its own", async (number) => {
    expect(await fake.requests()).toEqual([]);
    await fake.fault("429x1");
    await fake.reply(`reply ${number}`);
    expect((await ask()).status).toBe(429);
    expect((await ask()).body.choices[0].message.content).toBe(`reply ${number}`);
    expect(fake.url).toBe(before);
    expect(fake.name).toContain(`test-${number}-has`);
    await fake.verify({ status: 429 }, { times: 1 });
    await expect(fake.verify({ model: "gpt-5" })).rejects.toThrow("nearest request");
  });
});

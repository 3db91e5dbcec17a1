"use strict";

const { randomBytes } = require("node:crypto");
const { connectFakeOpenAI, startFakeOpenAI } = require("./server.cjs");

/** Tells apart this process from others that use the same server. */
const PROCESS = randomBytes(3).toString("hex");
let number = 0;

/**
 * Registers a server for this test file, and a scope of it for each test.
 *
 * `hooks` are those of a test runner: `beforeAll`, `afterAll`, `beforeEach`, `afterEach`; `nameOf` and `hasFailed` read
 * the context that the runner gives to a hook.
 */
function suite(hooks, options = {}) {
  let server;
  let scope;
  hooks.beforeAll(async () => {
    server = options.url ? connectFakeOpenAI(options.url, options) : await startFakeOpenAI(options);
  });
  hooks.beforeEach((context) => {
    const readable = (hooks.nameOf(context) || "test").replace(/[^A-Za-z0-9_.-]+/g, "-").slice(0, 40);
    scope = server.scope(`${readable}.${PROCESS}${++number}`);
  });
  hooks.afterEach(async (context) => {
    if (hooks.hasFailed?.(context)) console.error(`fake-openai: ${await scope.summary()}`);
    await scope.drop();
    scope = undefined;
  });
  hooks.afterAll(() => server?.stop?.());
  return new Proxy(Object.create(null), {
    get(_, key) {
      const current = scope ?? server;
      // A promise, and what a runner prints: this is none.
      if (typeof key === "symbol" || key === "then") return undefined;
      if (!current) throw new Error("fakeOpenAI(): the server has not started; use it within a test or a hook");
      const value = current[key];
      return typeof value === "function" ? value.bind(current) : value;
    },
  });
}

module.exports = { suite };

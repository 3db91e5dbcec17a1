// The server without a test runner's hooks.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { connectFakeOpenAI, startFakeOpenAI } from "fake-openai";

const require = createRequire(import.meta.url);
const { version } = require("fake-openai/package.json");

async function isDownSoon(url) {
  for (const until = Date.now() + 20_000; Date.now() < until; await setTimeout(10)) {
    if (!(await fetch(`${url}/health`).then((response) => response.text(), () => undefined))) return true;
  }
  return false;
}

test("a server runs until it is stopped", async () => {
  const server = await startFakeOpenAI({ args: ["--rpm", "100"] });
  assert.equal((await fetch(`${server.url}/health`)).status, 200);
  assert.match(server.log(), /100/);
  assert.deepEqual((await server.requests()).map(({ path }) => path), ["/health"]);
  await server.stop();
  await server.stop();
  await assert.rejects(fetch(`${server.url}/health`));
});

test("a wrong flag is an error with the program's remedy", async () => {
  await assert.rejects(startFakeOpenAI({ args: ["--rmp", "100"] }), /did you mean `--rpm`/);
});

test("a token of the admin API is used", async () => {
  const server = await startFakeOpenAI({ args: ["--admin-token", "long-enough-token"] });
  await server.fault("503");
  assert.deepEqual(await connectFakeOpenAI(server.url, { adminToken: "long-enough-token" }).requests(), []);
  await assert.rejects(connectFakeOpenAI(server.url).requests(), { name: "FakeOpenAIError" });
  await server.stop();
});

for (const end of ["process.kill(process.pid, 'SIGKILL')", "process.exit(1)", ""]) {
  const skip = process.platform === "win32" && "the server is watched by a shell";
  test(`the server ends with the process: ${end || "nothing left to do"}`, { skip }, async () => {
    // Without `stop()`: an open server keeps no process alive.
    const program = `require("fake-openai").startFakeOpenAI().then(({ url }) => {
      require("node:fs").writeSync(1, url);
      ${end}
    })`;
    const { stdout } = spawnSync(process.execPath, ["-e", program], { encoding: "utf8", timeout: 60_000 });
    assert.match(stdout, /^http:/);
    assert.ok(await isDownSoon(stdout));
  });
}

test("the command is the program", () => {
  const path = require.resolve("fake-openai/package.json").replace("package.json", "bin/fake-openai.cjs");
  const run = (...args) => spawnSync(process.execPath, [path, ...args], { encoding: "utf8" });
  assert.equal(run("--version").stdout, `fake-openai ${version}\n`);
  assert.equal(run("--rmp").status, 2);
});

test("modules of both kinds export the same", () => {
  const names = (type, code) =>
    execFileSync(process.execPath, [`--input-type=${type}`, "-e", code], { encoding: "utf8" }).trim();
  const required = names("commonjs", `console.log(Object.keys(require("fake-openai")).sort().join())`);
  assert.equal(names("module", `import * as all from "fake-openai"; console.log(Object.keys(all).sort().join())`), required);
});

test("the time of a start is printed", async () => {
  const times = [];
  for (let index = 0; index < 5; index++) {
    const begin = performance.now();
    const server = await startFakeOpenAI();
    times.push(performance.now() - begin);
    await server.stop();
  }
  times.sort((a, b) => a - b);
  console.log(`node: start of a server: median ${times[2].toFixed(1)} ms, least ${times[0].toFixed(1)} ms`);
});

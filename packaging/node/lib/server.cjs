"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const { Admin, FakeOpenAIError } = require("./admin.cjs");
const { binary } = require("./binary.cjs");
const { Scope } = require("./scope.cjs");

/** Starts the server, and stops it when standard input ends: when the parent closes it, or is gone. */
const SUPERVISOR = `
"$@" </dev/null & server=$!
exec >/dev/null 2>&1
read -r _
kill "$server"
wait "$server"
`;

/** Settings of a server for tests. Flags win over them. */
const FOR_TESTS = {
  // The port of the caller's environment is that of another server.
  FAKE_OPENAI_PORT: "0",
  FAKE_OPENAI_HOST: "127.0.0.1",
  // A test that has ended waits for no response.
  FAKE_OPENAI_DRAIN: "0s",
};

/** Prompts of agents are longer than the journal keeps by default. The caller's environment wins over these. */
const DEFAULTS = {
  FAKE_OPENAI_JOURNAL_BODY: "1MiB",
  FAKE_OPENAI_JOURNAL_MEMORY: "256MiB",
};

/** A server of its own. It stops with `stop()`, and when this process ends, however it ends. */
class FakeOpenAI extends Scope {
  #child;
  #ended;
  #log;

  constructor(admin, child, ended, log) {
    super(admin, undefined);
    this.#child = child;
    this.#ended = ended;
    this.#log = log;
  }

  /** What the server has written to standard error. */
  log() {
    return this.#log.read();
  }

  /** Stops the server. A second call has no effect. */
  async stop() {
    const child = this.#child;
    child.ref();
    if (child.stdin) child.stdin.destroy();
    else child.kill();
    const killed = setTimeout(() => killAll(child), 10_000);
    await this.#ended;
    clearTimeout(killed);
    this.#log.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for("nodejs.asyncDispose")]() {
    await this.stop();
  }
}

async function startFakeOpenAI({ args = [], env = {} } = {}) {
  const environment = { ...DEFAULTS, ...process.env, ...FOR_TESTS, ...env };
  delete environment.FAKE_OPENAI_PORT_FILE;
  const log = new Log();
  const supervised = process.platform !== "win32";
  const command = [binary(), ...args];
  // A session of its own: Ctrl-C is for the tests, whose end then stops the server.
  const child = supervised
    ? spawn("/bin/sh", ["-c", SUPERVISOR, "sh", ...command], {
        stdio: ["pipe", "pipe", log.fd],
        detached: true,
        env: environment,
      })
    : spawn(command[0], args, { stdio: ["ignore", "pipe", log.fd], env: environment });
  const ended = new Promise((resolve) => {
    child.once("exit", resolve);
    child.once("error", resolve);
  });
  const url = await firstLine(child);
  if (!url) {
    child.stdin?.destroy();
    await ended;
    const reason = log.read().trim() || "it printed nothing";
    log.close();
    throw new FakeOpenAIError(`\`${["fake-openai", ...args].join(" ")}\` did not start:\n${reason}`);
  }
  // Nothing of the server keeps this process alive.
  child.stdout.destroy();
  child.stdin?.unref();
  child.unref();
  if (!supervised) process.once("exit", () => child.kill());
  return new FakeOpenAI(new Admin(url, adminToken(args, environment)), child, ended, log);
}

function connectFakeOpenAI(url, { adminToken } = {}) {
  return new Scope(new Admin(url, adminToken), undefined);
}

function firstLine(child) {
  return new Promise((resolve) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text.split("\n")[0].trim());
    });
    child.stdout.once("end", () => resolve(""));
    child.once("error", () => resolve(""));
  });
}

/** Kills the server and its supervisor, which are one process group. */
function killAll(child) {
  try {
    process.kill(child.stdin ? -child.pid : child.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** The token of the admin API, which a flag or the environment sets. */
function adminToken(args, environment) {
  const index = args.findIndex((arg) => arg === "--admin-token" || arg.startsWith("--admin-token="));
  if (index < 0) return environment.FAKE_OPENAI_ADMIN_TOKEN;
  return args[index] === "--admin-token" ? args[index + 1] : args[index].slice("--admin-token=".length);
}

/** The server's log: a file, so that a busy event loop never blocks the server. */
class Log {
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), "fake-openai-"));

  constructor() {
    this.fd = fs.openSync(path.join(this.#folder, "log"), "w+");
    // The file lives as long as it is open, and no end of this process leaves it behind.
    if (process.platform !== "win32") this.#remove();
  }

  read() {
    if (this.fd === undefined) return "";
    const buffer = Buffer.alloc(fs.fstatSync(this.fd).size);
    return buffer.toString("utf8", 0, fs.readSync(this.fd, buffer, 0, buffer.length, 0));
  }

  close() {
    if (this.fd === undefined) return;
    fs.closeSync(this.fd);
    this.fd = undefined;
    this.#remove();
  }

  #remove() {
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

module.exports = { FakeOpenAI, connectFakeOpenAI, startFakeOpenAI };

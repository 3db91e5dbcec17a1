"use strict";

const { AssertionError } = require("node:assert");
const { messageOf } = require("./admin.cjs");

/** A space of its own on a server: limits, faults, replies, stored objects and requests are separate. */
class Scope {
  #admin;

  constructor(admin, name) {
    this.#admin = admin;
    this.name = name;
    this.url = admin.url + (name ? `/~scope=${name}` : "");
    this.baseURL = `${this.url}/v1`;
  }

  scope(name) {
    if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) {
      throw new TypeError(`scope: ${JSON.stringify(name)} is no name; use 1 to 64 characters of A-Z a-z 0-9 _ . -`);
    }
    return new Scope(this.#admin, name);
  }

  openai(more = {}) {
    return { baseURL: this.baseURL, apiKey: "sk-fake", ...more };
  }

  azure(more = {}) {
    return { endpoint: this.url, apiKey: "fake", apiVersion: "2024-10-21", ...more };
  }

  anthropic(more = {}) {
    return { baseURL: this.url, apiKey: "sk-ant-fake", ...more };
  }

  gemini(more = {}) {
    return { apiKey: "fake", httpOptions: { baseUrl: `${this.url}/gemini` }, ...more };
  }

  env() {
    return {
      OPENAI_BASE_URL: this.baseURL,
      OPENAI_API_KEY: "sk-fake",
      ANTHROPIC_BASE_URL: this.url,
      ANTHROPIC_API_KEY: "sk-ant-fake",
      GOOGLE_GEMINI_BASE_URL: `${this.url}/gemini`,
      GEMINI_API_KEY: "fake",
    };
  }

  async reply(reply, more = {}) {
    const body = typeof reply === "string" ? { ...more, text: reply } : { ...reply, ...more };
    return (await this.#admin.call("POST", "/replies", { body, query: this.#query() })).value;
  }

  async fault(fault, { when } = {}) {
    return (await this.#admin.call("POST", "/rules", { body: { when, fault }, query: this.#query() })).value;
  }

  async strict(strict = true) {
    if (this.name === undefined) {
      throw new TypeError("strict: the server's default scope has no such switch; use `scope(name).strict()`");
    }
    await this.#admin.call("PUT", `/scopes/${this.name}`, { body: { strict } });
  }

  async reset() {
    await this.#admin.call("POST", "/reset", { query: this.#query() });
  }

  async drop() {
    if (this.name === undefined) return this.reset();
    await this.#admin.call("DELETE", `/scopes/${this.name}`, { accepted: [404] });
  }

  async requests() {
    return (await this.#entries()).map(received);
  }

  async verify(when = {}, { times, atLeast, atMost, within } = {}) {
    if (times !== undefined && (atLeast !== undefined || atMost !== undefined)) {
      throw new TypeError("verify: `times` is an exact number; use it, or `atLeast` and `atMost`");
    }
    const bounds = atLeast === undefined && atMost === undefined ? undefined : { at_least: atLeast, at_most: atMost };
    await this.#verify({ when, count: times ?? bounds }, within, this.verify);
  }

  async verifyInOrder(steps, { within } = {}) {
    await this.#verify({ in_order: steps }, within, this.verifyInOrder);
  }

  async summary() {
    const entries = await this.#entries();
    const lines = [`${entries.length} request${entries.length === 1 ? "" : "s"} at ${this.url}`];
    for (const [index, entry] of entries.entries()) {
      const request = received(entry);
      const parts = [
        `${index + 1}.`,
        `${request.method} ${request.path}`,
        request.model && `model=${request.model}`,
        request.status ?? "no response",
        request.outcome !== "complete" && request.outcome,
        entry.faults?.length && `faults=${entry.faults.join(", ")}`,
        entry.reply && `reply=${entry.reply}`,
      ];
      lines.push(parts.filter(Boolean).join(" "));
      const error = request.status >= 400 ? await this.#error(entry.id) : undefined;
      lines.push(...(error ?? "").split("\n").filter(Boolean).map((line) => `   ${line}`));
    }
    return lines.join("\n");
  }

  async #error(id) {
    const { status, value } = await this.#admin.call("GET", `/requests/${id}`, { accepted: [404] });
    return status === 200 ? messageOf(value.response?.body ?? value.response?.body_text) : undefined;
  }

  async #entries() {
    return (await this.#admin.call("GET", "/requests", { query: { ...this.#query(), format: "jsonl" } })).value;
  }

  async #verify(verification, within, caller) {
    const wait = typeof within === "number" ? `${Math.round(within)}ms` : within;
    const body = { ...verification, within: wait, scope: this.name };
    const { status, value } = await this.#admin.call("POST", "/verify", { body, accepted: [422] });
    if (status === 422) throw new AssertionError({ message: value.message, stackStartFn: caller });
  }

  #query() {
    return { scope: this.name };
  }
}

/** A request as the tests read it, from an entry of the journal. */
function received(entry) {
  const { request, response } = entry;
  return {
    id: entry.id,
    method: request.method,
    path: request.path.replace(/^(\/~[^/]*)+/, "") || "/",
    query: request.query ?? "",
    headers: request.headers ?? {},
    body: request.body ?? request.body_text,
    model: request.model || undefined,
    stream: Boolean(request.stream),
    status: response?.status ?? undefined,
    outcome: response?.outcome ?? undefined,
    entry,
  };
}

module.exports = { Scope };

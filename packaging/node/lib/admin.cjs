"use strict";

const http = require("node:http");

/** The server did not start, or refused a call. The text is the server's. */
class FakeOpenAIError extends Error {
  name = "FakeOpenAIError";
}

/** The admin API of one server. */
class Admin {
  #token;

  constructor(url, token) {
    const parts = new URL(url);
    if (parts.protocol !== "http:") {
      throw new FakeOpenAIError(`url: ${url} is no URL of a server; write it like http://127.0.0.1:8080`);
    }
    this.url = parts.origin;
    this.#token = token;
  }

  /** Resolves to the status and the body. A status that is no success and not in `accepted` is an error. */
  async call(method, path, { body, query = {}, accepted = [] } = {}) {
    const parameters = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = parameters.length ? `?${new URLSearchParams(parameters)}` : "";
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = { ...(this.#token && { authorization: `Bearer ${this.#token}` }) };
    if (payload !== undefined) {
      Object.assign(headers, { "content-type": "application/json", "content-length": Buffer.byteLength(payload) });
    }
    const target = `/__admin${path}${search}`;
    const { status, text } = await send(`${this.url}${target}`, method, headers, payload);
    if (query.format === "jsonl" && status === 200) {
      return { status, value: text.split("\n").filter(Boolean).map((line) => JSON.parse(line)) };
    }
    let value;
    try {
      value = text ? JSON.parse(text) : undefined;
    } catch {
      value = text;
    }
    if ((status < 200 || status > 299) && !accepted.includes(status)) {
      throw new FakeOpenAIError(`${method} /__admin${path}: ${messageOf(value) ?? status}`);
    }
    return { status, value };
  }
}

/** Not `fetch`: test environments replace it, and tools for mocks intercept it. */
function send(url, method, headers, payload) {
  return new Promise((resolve, reject) => {
    const fail = (error) => reject(new FakeOpenAIError(`${method} ${url}: no response: ${error.message}`));
    const request = http.request(url, { method, headers, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() }));
      response.on("error", fail);
    });
    request.on("error", fail);
    request.end(payload);
  });
}

/** The text of an error, in the form of any provider. */
function messageOf(value) {
  if (typeof value === "string") return value || undefined;
  const error = value?.error ?? value;
  const message = typeof error === "string" ? error : error?.message;
  return typeof message === "string" ? message : undefined;
}

module.exports = { Admin, FakeOpenAIError, messageOf };

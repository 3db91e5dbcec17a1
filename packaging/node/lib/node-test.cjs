"use strict";

const { after, afterEach, before, beforeEach } = require("node:test");
const { suite } = require("./suite.cjs");

function fakeOpenAI(options) {
  const nameOf = (context) => context.name;
  const hasFailed = (context) => context.passed === false;
  return suite({ beforeAll: before, afterAll: after, beforeEach, afterEach, nameOf, hasFailed }, options);
}

module.exports = { fakeOpenAI };

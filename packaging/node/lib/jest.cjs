"use strict";

// Jest provides this module itself.
const { afterAll, afterEach, beforeAll, beforeEach, expect } = require("@jest/globals");
const { suite } = require("./suite.cjs");

function fakeOpenAI(options) {
  // Jest gives hooks a callback if they have a parameter, and has no state of the test's success for them.
  const each = (register) => (hook) => register(() => hook());
  const nameOf = () => expect.getState().currentTestName;
  return suite({ beforeAll, afterAll, beforeEach: each(beforeEach), afterEach: each(afterEach), nameOf }, options);
}

module.exports = { fakeOpenAI };

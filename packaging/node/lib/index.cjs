"use strict";

const { FakeOpenAIError } = require("./admin.cjs");
const { binary } = require("./binary.cjs");
const { Scope } = require("./scope.cjs");
const { FakeOpenAI, connectFakeOpenAI, startFakeOpenAI } = require("./server.cjs");

module.exports = { FakeOpenAI, FakeOpenAIError, Scope, binary, connectFakeOpenAI, startFakeOpenAI };

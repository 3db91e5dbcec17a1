import exported from "./index.cjs";

export const { FakeOpenAI, FakeOpenAIError, Scope, binary, connectFakeOpenAI, startFakeOpenAI } = exported;

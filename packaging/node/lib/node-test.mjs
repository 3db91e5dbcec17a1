import exported from "./node-test.cjs";

export const { fakeOpenAI } = exported;

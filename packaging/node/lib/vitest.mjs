import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import common from "./suite.cjs";

export function fakeOpenAI(options) {
  const nameOf = (context) => context.task.name;
  const hasFailed = (context) => context.task.result?.state === "fail";
  // A hook's first parameter has to be destructured where vitest provides fixtures.
  const each = (register) => (hook) => register(({ task }) => hook({ task }));
  const hooks = { beforeAll, afterAll, beforeEach: each(beforeEach), afterEach: each(afterEach), nameOf, hasFailed };
  return common.suite(hooks, options);
}

import { Scope, StartOptions } from "./index.cjs";

export interface SuiteOptions extends StartOptions {
  /** A server that runs already, to start none. */
  url?: string;
  adminToken?: string;
}

/**
 * Starts a server before the tests of this file, and gives each test a scope of its own on it. The result is the scope
 * of the test that runs: use it within tests and hooks. Tests that run at the same time within one file name theirs:
 * `fake.scope("a")`.
 */
export function fakeOpenAI(options?: SuiteOptions): Scope;

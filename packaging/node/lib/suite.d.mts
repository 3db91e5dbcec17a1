export * from "./suite.cjs";

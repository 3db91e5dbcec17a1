#!/usr/bin/env node
// Runs the program of this platform with the same arguments, signals and exit status.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

let path;
try {
  path = require("../lib/binary.cjs").binary();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const program = spawn(path, process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  // A terminal sends Ctrl-C to both processes: a second SIGINT would stop the server at once.
  process.on(signal, () => signal === "SIGINT" && process.stdin.isTTY ? undefined : program.kill(signal));
}
program.on("error", (error) => {
  console.error(`${path}: ${error.message}`);
  process.exit(1);
});
program.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));

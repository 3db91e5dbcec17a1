"use strict";

/** Returns the path of the program in the package of this platform. */
function binary() {
  const platform = `${process.platform}-${process.arch}`;
  const name = process.platform === "win32" ? "fake-openai.exe" : "fake-openai";
  try {
    return require.resolve(`@fake-openai/${platform}/bin/${name}`);
  } catch {
    const remedy = "install again without `--omit=optional`, or use a platform that has a package";
    throw new Error(`fake-openai: the package @fake-openai/${platform} is missing; ${remedy}`);
  }
}

module.exports = { binary };

/** Sends a chat without an SDK, and resolves to the status and the body. */
export async function ask(scope, content = "Hi", members = {}) {
  const body = JSON.stringify({ model: "gpt-4o", messages: [{ role: "user", content }], ...members });
  const headers = { "content-type": "application/json", "x-team": "red" };
  const response = await fetch(`${scope.baseURL}/chat/completions`, { method: "POST", headers, body });
  return { status: response.status, body: await response.json() };
}

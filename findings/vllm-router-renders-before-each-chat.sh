#!/usr/bin/env bash
# vllm-router 0.1.17 (PyPI): three requests for each chat, two of them to routes that a worker may lack.
#
# Before it forwards a chat, the router posts the whole request to the worker's `/v1/chat/completions/render`. If that
# is 404, it posts the messages to `/tokenize`, and then sends the chat. It does not remember the 404: the next chat
# makes the same three requests. Neither the command's flags nor its log at the default level mention it. The chat that
# arrives has members that the client did not send, among them `no_stop_trim` and `return_hidden_states`.
#
# A worker that is measured behind this router therefore has three times the requests, and one that limits requests
# refuses two thirds of its chats too early.
#
# Seen on 2026-12-01 with Python 3.11 on Linux x86-64, for two chats:
#   POST /v1/chat/completions/render
#   POST /tokenize
#   POST /v1/chat/completions
#   POST /v1/chat/completions/render
#   POST /tokenize
#   POST /v1/chat/completions
#   added: no_stop_trim return_hidden_states
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet vllm-router==0.1.17

cat > worker.py <<'PY'
"""A worker that answers chats, its health and its models, and has no other route."""
import http.server
import json
import os

class Worker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        models = {"object": "list", "data": [{"id": "m", "object": "model", "root": "m"}]}
        known = {"/health": {}, "/v1/models": models}
        self.reply(200 if self.path in known else 404, known.get(self.path, {}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with open("requests", "a") as file:
            file.write(f"POST {self.path}\n")
        if self.path != "/v1/chat/completions":
            return self.reply(404, {"detail": "Not Found"})
        with open("members", "w") as file:
            file.write(" ".join(name for name in ("no_stop_trim", "return_hidden_states") if name in body))
        message = {"role": "assistant", "content": "hi"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.reply(200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                         "choices": [choice], "usage": usage})

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
with open("port.new", "w") as file:
    file.write(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
PY
python3 worker.py & pids+=($!)
until [ -s port ]; do sleep 0.1; done
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
router_port=$(free_port)
venv/bin/vllm-router --worker-urls "http://127.0.0.1:$(cat port)" --host 127.0.0.1 --port "$router_port" \
  --prometheus-port "$(free_port)" > router.log 2>&1 & pids+=($!)
for _ in $(seq 150); do curl -sf -o /dev/null "http://127.0.0.1:$router_port/health" && break; sleep 0.2; done

for _ in 1 2; do
  curl -sf -o /dev/null "http://127.0.0.1:$router_port/v1/chat/completions" -H 'content-type: application/json' \
    -d '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
done
{ cat requests; echo "added: $(cat members)"; } | tee seen
one=$'POST /v1/chat/completions/render\nPOST /tokenize\nPOST /v1/chat/completions'
diff <(printf '%s\n%s\nadded: no_stop_trim return_hidden_states\n' "$one" "$one") seen \
  && echo "as on 2026-12-01" || { echo "changed since 2026-12-01" >&2; exit 1; }

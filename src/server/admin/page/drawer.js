/** Describes a value that is JSON, or a text. */
const pretty = (json, text) => json === undefined ? text : JSON.stringify(json, null, 2);
function list(object) {
  const made = el('dl');
  for (const [name, value] of Object.entries(object || {})) {
    if (value != null && value !== '') made.append(el('dt', {}, name), el('dd', {}, typeof value === 'object' ? JSON.stringify(value) : String(value)));
  }
  return made;
}
function timeline(timing) {
  const first = timing.first_token, end = timing.end;
  const meant = timing.intended_first_token, meantEnd = timing.intended_end ?? meant;
  const most = Math.max(end || 0, first || 0, meantEnd || 0, .001);
  const line = (name, parts, total) => [el('span', { class: 'soft' }, name),
    bar([...parts, { name: '', value: Math.max(0, most - parts.reduce((sum, part) => sum + part.value, 0)) }]), el('span', {}, total == null ? 'open' : millis(total))];
  const split = (queued, first, end) => [{ name: 'queued', value: queued, color: 'var(--client)' },
    { name: 'to the first token', value: Math.max(0, (first ?? end ?? 0) - queued), color: 'var(--redirect)' },
    { name: 'tokens', value: first == null || end == null ? 0 : Math.max(0, end - first), color: 'var(--ok)' }];
  const made = el('div', { class: 'timeline' });
  if (meantEnd != null) made.append(...line('intended', split(0, meant, meantEnd), meantEnd));
  made.append(...line('actual', split(timing.queued || 0, first, end), end));
  const key = el('div', { class: 'key' });
  for (const [name, color] of [['queued', '--client'], ['until the first token or the head', '--redirect'], ['tokens', '--ok']]) {
    const swatch = el('i');
    swatch.style.background = `var(${color})`;
    key.append(el('span', {}, swatch, name));
  }
  return el('div', {}, made, key, list(Object.fromEntries(Object.entries(timing).map(([name, value]) => [name.replaceAll('_', ' '), millis(value)]))));
}
function section(title, open, ...children) {
  return el('details', open ? { open: '' } : {}, el('summary', {}, title), ...children);
}
async function openRequest(id) {
  const drawer = byId('drawer');
  const close = el('button', { onclick: () => drawer.close() }, 'Close');
  const raw = el('a', { href: `${base}requests/${encodeURIComponent(id)}`, target: '_blank', rel: 'noreferrer' }, 'JSON');
  const top = (...title) => el('div', { class: 'top' }, ...title, raw, close);
  drawer.replaceChildren(top(el('h2', {}, id)));
  if (!drawer.open) drawer.showModal();
  history.replaceState(null, '', `${location.pathname}${suffix()}#${id}`);
  close.focus();
  const result = await fetch(`${base}requests/${encodeURIComponent(id)}`).then(async answer => [answer.ok, await answer.json()]).catch(error => [false, { error: { message: String(error) } }]);
  const [ok, entry] = result;
  if (!ok) { drawer.append(el('p', { class: 'error' }, entry.error.message)); return; }
  const { request, response, client } = entry;
  drawer.replaceChildren(
    top(el('span', { class: `badge c${classOf(response.status)}` }, response.status == null ? '–' : String(response.status)), el('h2', {}, `${request.method} ${request.path}`)),
    list({ id: entry.id, received: entry.received_at, scope: entry.scope, model: request.model, deployment: entry.deployment, route: request.route, reply: entry.reply,
      outcome: response.outcome ? `${response.outcome}, ${response.phase}` : 'open', finish: response.finish_reason,
      faults: (entry.faults || []).join(' ~ '), caller: [client.ip, client.key, client.key_hash].filter(Boolean).join(' · '), agent: client.user_agent,
      connection: `${client.connection}, request ${client.request_on_connection} on it` }),
    el('h3', {}, 'Timeline'), timeline(entry.timing_ms),
    section('Request', true, request.query ? list({ query: request.query }) : null, body(request)),
    section('Request headers', false, list(request.headers)),
    section('Response', true, list({ usage: response.usage, events: response.events_sent, bytes: response.bytes, 'not delivered': response.tokens_undelivered ? `${response.tokens_undelivered} tokens` : null }), body(response)),
    section('Response headers', false, list(response.headers)),
    entry.limits && entry.limits.length ? section('Limits', true, ...entry.limits.map(limit => list(limit))) : '');
  drawer.querySelector('.top button').focus();
}
function body(message) {
  const text = pretty(message.body, message.body_text);
  if (text == null) return el('p', { class: 'empty' }, 'No body is kept.');
  return el('div', {}, el('pre', { tabindex: '0' }, text), message.body_truncated ? el('p', { class: 'empty' }, 'Only the start is kept. --journal-body keeps more.') : null);
}

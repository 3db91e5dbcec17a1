function ask(text) {
  const dialog = byId('ask');
  put('ask-text', text);
  dialog.showModal();
  byId('ask-no').focus();
  return new Promise(done => {
    byId('ask-yes').onclick = () => dialog.close('yes');
    byId('ask-no').onclick = () => dialog.close('no');
    dialog.onclose = () => { done(dialog.returnValue === 'yes'); dialog.returnValue = ''; };
  });
}
async function call(method, path, json) {
  const error = byId('rule-error');
  error.hidden = true;
  const options = { method };
  if (json !== undefined) Object.assign(options, { headers: { 'content-type': 'application/json' }, body: JSON.stringify(json) });
  try {
    const answer = await fetch(base + path, options);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    await refresh();
    return true;
  } catch (problem) {
    error.textContent = problem.message;
    error.hidden = false;
    return false;
  }
}
byId('add-rule').addEventListener('submit', async event => {
  event.preventDefault();
  const rule = { fault: byId('fault').value.trim() }, model = byId('rule-model').value.trim();
  if (model) rule.when = { model };
  if (state.scope) rule.scope = state.scope;
  if (await call('POST', 'rules', rule)) byId('add-rule').reset();
});
const where = () => state.scope == null ? 'all scopes' : state.scope === '' ? 'the default scope' : `the scope ${state.scope}`;
const suffix = () => state.scope == null ? '' : `?scope=${encodeURIComponent(state.scope)}`;
byId('clear-rules').addEventListener('click', async () => {
  if (await ask(`Delete the rules of ${where()}?`)) call('DELETE', `rules${suffix()}`);
});
byId('reset').addEventListener('click', async () => {
  if (await ask(`Reset ${where()}? This forgets rules, sequences, limits, objects, the journal and counters.`)) call('POST', `reset${suffix()}`);
});
byId('pause').addEventListener('click', () => {
  state.paused = !state.paused;
  byId('pause').setAttribute('aria-pressed', String(state.paused));
  put('pause', state.paused ? 'Go on' : 'Pause');
  if (!state.paused) refresh();
});
byId('scope').addEventListener('change', event => {
  state.scope = event.target.value === 'all' ? null : event.target.value.slice('scope:'.length);
  history.replaceState(null, '', location.pathname + suffix());
  refresh();
  follow();
});
byId('drawer').addEventListener('close', () => history.replaceState(null, '', location.pathname + suffix()));
byId('drawer').addEventListener('click', event => { if (event.target === byId('drawer')) byId('drawer').close(); });
byId('chart').addEventListener('pointermove', event => {
  const box = byId('chart').getBoundingClientRect();
  state.cursor = Math.min(SECONDS - 1, Math.max(0, Math.floor((event.clientX - box.left) * SECONDS / box.width)));
  if (state.status) drawChart(state.status.rate);
});
byId('chart').addEventListener('pointerleave', () => { state.cursor = null; if (state.status) drawChart(state.status.rate); });

function receive(status) {
  if (state.paused) return;
  state.status = status;
  show(status);
}
function live(text, kind) { const mark = byId('live'); setText(mark, text); mark.className = `live ${kind}`; }
async function refresh() {
  const answer = await fetch(scoped('status'));
  const status = await answer.json();
  if (!answer.ok) throw new Error(status.error.message);
  receive(status);
}
/** Follows the events. Where there are too many streams, or none is allowed through, it asks again and again. */
function follow() {
  clearTimeout(state.timer);
  if (state.source) state.source.close();
  const source = state.source = new EventSource(scoped('events'));
  source.onopen = () => live('live', 'on');
  source.onmessage = event => receive(JSON.parse(event.data));
  source.onerror = () => { source.close(); if (state.source === source) poll(5); };
}
async function poll(left) {
  try {
    await refresh();
    live('polling', 'on');
  } catch (problem) {
    live(problem.message.startsWith('This page') ? problem.message : 'no connection; trying again', 'off');
  }
  state.timer = setTimeout(() => left > 0 ? poll(left - 1) : follow(), 1000);
}
refresh().catch(problem => live(problem.message, 'off')).finally(follow);
if (/^#req_\d+$/.test(location.hash)) openRequest(location.hash.slice(1));

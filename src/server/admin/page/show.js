function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return days ? `${days}d ${hours}h` : hours ? `${hours}h ${minutes}m` : minutes ? `${minutes}m ${Math.floor(seconds % 60)}s` : `${Math.floor(seconds)}s`;
}
const bytes = value => value >= 1048576 ? `${(value / 1048576).toFixed(1)} MiB` : `${Math.round(value / 1024)} KiB`;

function show(status) {
  const { totals, rate, latency_ms: latency, concurrency, connections } = status;
  put('version', status.version);
  put('uptime', duration(status.uptime_seconds));
  put('received', number(totals.received));
  put('tokens-in', number(totals.tokens.input));
  put('tokens-out', number(totals.tokens.output));
  put('undelivered', number(totals.tokens.undelivered));
  put('per-second', number(rate.per_second));
  const ended = Object.values(totals.by_class).reduce((sum, count) => sum + count, 0);
  put('ok-share', ended ? `${(totals.by_class['2xx'] * 100 / ended).toFixed(1)} % of all are 2xx` : '');
  put('in-flight', number(totals.in_flight));
  put('waiting', concurrency ? `${number(concurrency.waiting)} wait, ${number(concurrency.running)} of ${number(concurrency.max)} run` : '');
  put('open-streams', number(totals.open_streams));
  put('connections', `${number(connections.open)} connections`);
  put('journal', `Journal ${bytes(status.journal.memory_bytes)} of ${bytes(status.journal.max_memory_bytes)} · loop lag p99 ${millis(status.loop_lag_ms.p99)}`);
  document.title = `${number(rate.per_second)} req/s · fake-openai`;
  drawChart(rate);
  drawLegend(totals.by_class);
  drawTimes('ttft', latency.first_token);
  drawTimes('itl', latency.between_tokens);
  showScopes(status.scopes);
  showFindings(status.findings);
  rows('models', status.models, item => item.model, () => cells(5, [1, 3, 4]), (row, item) => {
    setText(row.cells[0], item.model);
    row.cells[0].className = 'clip';
    setText(row.cells[1], number(item.requests));
    replaceIfChanged(row.cells[2], JSON.stringify(item.by_class), () => classBar(item.by_class));
    setText(row.cells[3], number(item.tokens.input));
    setText(row.cells[4], number(item.tokens.output));
  });
  byId('deployments-card').hidden = status.deployments.length === 0;
  rows('deployments', status.deployments, item => item.deployment, () => cells(3, [1]), (row, item) => {
    setText(row.cells[0], item.deployment);
    setText(row.cells[1], number(item.requests));
    replaceIfChanged(row.cells[2], JSON.stringify(item.by_class), () => classBar(item.by_class));
  });
  const caller = item => item.key_hash || item.client;
  const sorted = [...status.limits].sort((one, other) => caller(one).localeCompare(caller(other)));
  rows('limits', sorted, item => [caller(item), item.scope, item.unit].join(' '), () => cells(6, [3, 4]), (row, item) => {
    setText(row.cells[0], `${caller(item)}${item.key && item.key.length > 1 ? ` ${item.key}` : ''}${item.scope ? ` · ${item.scope}` : ''}`);
    row.cells[0].className = 'mono clip';
    setText(row.cells[1], item.unit.replaceAll('_', ' '));
    const used = Math.max(0, item.limit - item.remaining), share = item.limit ? used / item.limit : 1;
    const color = item.decision === 'refused' || share >= 1 ? '--server' : share > .8 ? '--toomany' : '--ok';
    replaceIfChanged(row.cells[2], `${used} ${color}`, () => bar([{ name: 'used', value: used, color: `var(${color})` }, { name: '', value: item.limit - used }]));
    setText(row.cells[3], number(item.remaining));
    setText(row.cells[4], number(item.limit));
    setText(row.cells[5], item.decision.replaceAll('_', ' '));
    row.cells[5].className = item.decision === 'refused' ? 'c429' : 'soft';
  });
  rows('rules', status.rules, item => `${item.scope || ''} ${item.id}`, ruleRow, (row, item) => {
    setText(row.cells[0], item.id + (item.scope ? ` · ${item.scope}` : ''));
    setText(row.cells[1], item.fault);
    setText(row.cells[2], item.when ? JSON.stringify(item.when) : 'every request');
  });
  rows('requests', status.requests, item => item.id, requestRow, (row, item) => {
    setText(row.cells[0].firstChild, item.id);
    setText(row.cells[1], item.received_at.slice(11, 23));
    const name = classOf(item.status);
    replaceIfChanged(row.cells[2], String(item.status), () => el('span', { class: `badge c${name}` }, item.status == null ? '–' : String(item.status)));
    setText(row.cells[3], `${item.method} ${item.path}`);
    setText(row.cells[4], item.model);
    setText(row.cells[5], item.ms == null ? '…' : item.ms >= 100 ? number(Math.round(item.ms)) : item.ms.toFixed(2));
    setText(row.cells[6], item.tokens ? `${number(item.tokens.input)} + ${number(item.tokens.output)}` : '');
    setText(row.cells[7], item.outcome.replaceAll('_', ' ') + (item.phase && item.phase !== 'done' ? `, ${item.phase.replaceAll('_', ' ')}` : ''));
    row.cells[7].className = item.outcome === 'complete' ? 'soft' : item.outcome === 'open' ? '' : 'c5xx';
    setText(row.cells[8], item.faults);
    setText(row.cells[9], item.key_hash || '');
  });
}
function requestRow(item) {
  const row = cells(10, [5, 6]), open = event => { event.stopPropagation(); openRequest(item.id); };
  row.cells[0].append(el('button', { class: 'quiet link mono', 'aria-haspopup': 'dialog', onclick: open }, item.id));
  row.addEventListener('click', open);
  for (const n of [3, 4, 8]) row.cells[n].className = 'clip';
  row.cells[9].className = 'mono soft';
  row.cells[1].className = 'soft';
  return row;
}
function ruleRow(item) {
  const row = cells(3);
  row.cells[1].className = 'mono';
  row.cells[2].className = 'mono clip soft';
  const remove = () => call('DELETE', `rules/${encodeURIComponent(item.id)}?scope=${encodeURIComponent(item.scope || '')}`);
  row.append(el('td', { class: 'num' }, el('button', { class: 'quiet danger', 'aria-label': `Delete ${item.id}`, onclick: remove }, 'Delete')));
  return row;
}
function showScopes(scopes) {
  const select = byId('scope'), shown = JSON.stringify(scopes.map(scope => scope.name));
  byId('scope-label').hidden = scopes.length === 0 && state.scope == null;
  if (select.dataset.shown === shown) return;
  select.dataset.shown = shown;
  const names = scopes.map(scope => scope.name);
  if (state.scope && !names.includes(state.scope)) names.push(state.scope);
  select.replaceChildren(el('option', { value: 'all' }, 'all'), el('option', { value: 'scope:' }, 'default'), ...names.map(name => el('option', { value: `scope:${name}` }, name)));
  select.value = state.scope == null ? 'all' : `scope:${state.scope}`;
}
function showFindings(findings) {
  const section = byId('findings');
  section.hidden = findings.length === 0;
  if (section.dataset.shown === JSON.stringify(findings)) return;
  section.dataset.shown = JSON.stringify(findings);
  section.replaceChildren(el('h2', {}, 'Findings'), ...findings.map(finding =>
    el('div', {}, el('b', {}, `${finding.severity || 'warning'}: ${finding.check || ''} `), finding.text || finding.message || finding.meaning || '')));
}

'use strict';
const CLASSES = [['2xx', '--ok'], ['3xx', '--redirect'], ['4xx', '--client'], ['429', '--toomany'], ['5xx', '--server'], ['other', '--other']];
const SECONDS = 300;
const base = location.pathname.replace(/\/*$/, '/');
const byId = id => document.getElementById(id);
const number = value => value == null ? '–' : value.toLocaleString('en-US');
const millis = value => value == null ? '–' : value >= 1000 ? `${(value / 1000).toFixed(value >= 10000 ? 1 : 2)} s` : `${value >= 100 ? Math.round(value) : +value.toPrecision(2)} ms`;
const classOf = status => !status ? 'other' : status === 429 ? '429' : status < 200 ? 'other' : `${Math.floor(status / 100)}xx`;
const state = { scope: new URLSearchParams(location.search).get('scope'), paused: false, status: null, cursor: null, source: null, timer: 0 };

/** Creates an element. Texts are inserted as text only. */
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === 'class') made.className = value;
    else if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child != null));
  return made;
}
function svg(tag, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
function put(id, text) { setText(byId(id), text); }
function scoped(path) { return base + path + (state.scope == null ? '' : `?scope=${encodeURIComponent(state.scope)}`); }

/** Shows one row for each item. Rows that stay keep their elements, and with them the focus. */
function rows(id, items, keyOf, create, update) {
  const table = byId(id), body = table.tBodies[0], known = new Map();
  for (const row of [...body.rows]) known.set(row.dataset.key, row);
  const keys = new Set(items.map(keyOf));
  for (const [key, row] of known) if (!keys.has(key)) row.remove();
  items.forEach((item, n) => {
    const key = keyOf(item);
    let row = known.get(key);
    if (!row) { row = create(item); row.dataset.key = key; }
    if (body.rows[n] !== row) body.insertBefore(row, body.rows[n] || null);
    update(row, item);
  });
  table.parentElement.hidden = items.length === 0;
  table.closest('.card').querySelector('.empty').hidden = items.length > 0;
}
function cells(count, numeric = []) {
  const row = el('tr');
  for (let n = 0; n < count; n++) row.append(el('td', numeric.includes(n) ? { class: 'num' } : {}));
  return row;
}
function bar(parts) {
  const total = parts.reduce((sum, part) => sum + part.value, 0);
  const made = el('div', { class: 'bar', role: 'img', 'aria-label': parts.filter(part => part.value && part.name).map(part => `${part.name} ${number(part.value)}`).join(', ') });
  for (const part of parts.filter(part => part.value > 0)) {
    const piece = el('i', { title: part.name ? `${part.name}: ${number(part.value)}` : '' });
    piece.style.width = `${part.value * 100 / total}%`;
    piece.style.background = part.color || 'transparent';
    made.append(piece);
  }
  return made;
}
const classBar = counts => bar(CLASSES.map(([name, color]) => ({ name, value: counts[name], color: `var(${color})` })));
function replaceIfChanged(cell, key, make) {
  if (cell.dataset.shown !== key) { cell.dataset.shown = key; cell.replaceChildren(make()); }
}

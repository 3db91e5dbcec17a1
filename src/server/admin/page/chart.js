function niceMax(value) {
  if (value <= 4) return 4;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map(step => step * unit).find(step => step >= value);
}
function drawChart(rate) {
  const series = CLASSES.map(([name]) => rate.classes[name]);
  const length = series[0].length, start = SECONDS - length;
  const totals = Array.from({ length }, (_, n) => series.reduce((sum, one) => sum + one[n], 0));
  const max = niceMax(Math.max(0, ...totals)), y = value => 100 - value * 100 / max;
  const picture = svg('svg', { viewBox: `0 0 ${SECONDS} 100`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const labels = [];
  for (const part of [0, .5, 1]) {
    const line = y(max * part);
    picture.append(svg('line', { x1: 0, x2: SECONDS, y1: line, y2: line, class: 'grid' }));
    if (part > 0) {
      const label = el('div', { class: 'y' }, number(max * part));
      label.style.top = `${part === 1 ? 8 : line}%`;
      if (part === 1) label.style.transform = 'translateY(-100%)';
      labels.push(label);
    }
  }
  const below = new Array(length).fill(0);
  series.forEach((one, n) => {
    if (!one.some(value => value > 0)) return;
    let top = '', bottom = '';
    for (let at = 0; at < length; at++) {
      const low = y(below[at]), high = y(below[at] + one[at]), x = start + at;
      top += `L${x} ${high.toFixed(2)}L${x + 1} ${high.toFixed(2)}`;
      bottom = `L${x + 1} ${low.toFixed(2)}L${x} ${low.toFixed(2)}` + bottom;
      below[at] += one[at];
    }
    const path = svg('path', { d: `M${top.slice(1)}${bottom}Z` });
    path.style.fill = `var(${CLASSES[n][1]})`;
    picture.append(path);
  });
  const chart = byId('chart'), tip = byId('tip');
  const at = state.cursor == null ? null : state.cursor - start;
  tip.hidden = at == null || at < 0 || at >= length;
  if (!tip.hidden) {
    const x = state.cursor + .5;
    picture.append(svg('line', { x1: x, x2: x, y1: 0, y2: 100, class: 'cursor' }));
    const shown = CLASSES.map(([name], n) => [name, series[n][at]]).filter(([, value]) => value > 0);
    tip.replaceChildren(el('b', {}, `${number(totals[at])} req/s`), el('div', { class: 'soft' }, `${SECONDS - state.cursor} s ago`),
      ...shown.map(([name, value]) => el('div', { class: `c${name}` }, `${name} ${number(value)}`)));
    const left = x / SECONDS > .5;
    tip.style.left = left ? '' : `calc(${x * 100 / SECONDS}% + 10px)`;
    tip.style.right = left ? `calc(${100 - x * 100 / SECONDS}% + 10px)` : '';
  }
  for (const old of chart.querySelectorAll('svg, .y')) old.remove();
  chart.prepend(picture);
  chart.append(...labels);
}
function drawLegend(byClass) {
  const shown = CLASSES.filter(([name]) => byClass[name] > 0 || name === '2xx');
  byId('legend').replaceChildren(...shown.map(([name, color]) => {
    const swatch = el('i');
    swatch.style.background = `var(${color})`;
    return el('span', { 'data-class': name }, swatch, name, el('b', {}, number(byClass[name])));
  }));
}
function drawTimes(id, timing) {
  const parts = [el('span'), el('span', { class: 'label right' }, 'actual'), el('span', { class: 'label right' }, 'intended')];
  for (const share of ['p50', 'p99']) {
    parts.push(el('span', { class: 'label' }, share), el('span', { class: 'value right', id: `${id}-${share}` }, millis(timing.actual[share])),
      el('span', { class: 'intended', id: `${id}-${share}-intended` }, millis(timing.intended[share])));
  }
  byId(id).replaceChildren(...parts);
}

// Curves that grow: the picture is drawn into the same node at every update, so nothing blinks. What to draw comes from a figure.
const LEFT = 56, RIGHT = 14, TOP = 34, BOTTOM = 40;
const DASHES = { dash: "9 5", dot: "3 4", dashdot: "9 4 3 4" };

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  if (!root.firstChild) make(root);
  root.chart = data;
  root.style.height = `${data.height}px`;
  root.watcher ??= new ResizeObserver(() => draw(root));
  root.watcher.observe(root);
  draw(root);
}

function make(root) {
  root.innerHTML = '<svg role="img"></svg><div class="tip"></div>';
  root.onpointermove = (event) => { root.pointer = event.clientX; hover(root); };
  root.onpointerleave = () => { root.pointer = null; hover(root); };
}

function draw(root) {
  const { chart } = root;
  const width = root.clientWidth, height = root.clientHeight;
  if (!width) return;
  const [x0, x1] = chart.x_range, [y0, y1] = chart.y_range;
  const at = root.at = {
    x: (value) => LEFT + (value - x0) / (x1 - x0) * (width - LEFT - RIGHT),
    y: (value) => height - BOTTOM - ((chart.log ? Math.log10(value) : value) - y0) / (y1 - y0) * (height - TOP - BOTTOM),
  };
  const parts = [`<text class="title" x="0" y="14">${escape(chart.title)}</text>`];
  for (const value of chart.log ? decades(y0, y1) : ticks(y0, y1, 5)) {
    const y = at.y(value);
    parts.push(`<line class="grid" x1="${LEFT}" x2="${width - RIGHT}" y1="${y}" y2="${y}"/>`);
    parts.push(`<text x="${LEFT - 8}" y="${y + 4}" text-anchor="end">${chart.log ? value.toExponential(0) : short(value)}</text>`);
  }
  for (const [value, words] of chart.ticks ?? ticks(Math.max(0, x0), x1, 5).map((tick) => [tick, tick.toLocaleString("en")]))
    parts.push(`<text x="${at.x(value)}" y="${height - BOTTOM + 18}" text-anchor="middle">${escape(String(words))}</text>`);
  parts.push(`<text x="${(LEFT + width - RIGHT) / 2}" y="${height - 4}" text-anchor="middle">${escape(chart.x_title)}</text>`);
  let key = width - RIGHT;
  for (const trace of chart.legend ? [...chart.traces].reverse() : []) {
    key -= 7 * trace.name.length + 30;
    parts.push(`<line x1="${key}" x2="${key + 20}" y1="10" y2="10" stroke="${trace.color}" stroke-width="${trace.width}"/>`);
    parts.push(`<text x="${key + 25}" y="14">${escape(trace.name)}</text>`);
  }
  for (const trace of chart.traces) parts.push(line(trace, at, chart.log));
  for (const ring of chart.rings)
    parts.push(`<circle cx="${at.x(ring.x)}" cy="${at.y(ring.y)}" r="6" fill="none" stroke="${ring.color}" stroke-width="2"/>`);
  if (chart.marked !== null)
    parts.push(`<line class="marked" x1="${at.x(chart.marked)}" x2="${at.x(chart.marked)}" y1="${TOP}" y2="${height - BOTTOM}"/>`);
  parts.push(`<line class="guide" y1="${TOP}" y2="${height - BOTTOM}" visibility="hidden"/>`);
  const svg = root.querySelector("svg");
  svg.setAttribute("aria-label", chart.alt);
  svg.innerHTML = parts.join("");
  hover(root);
}

function line(trace, at, log) {
  let path = "", pen = "M", dots = "";
  trace.x.forEach((x, k) => {
    const y = trace.y[k];
    if (y === null || (log && y <= 0)) { pen = "M"; return; }
    const place = `${at.x(x).toFixed(1)} ${at.y(y).toFixed(1)}`;
    path += pen + place;
    pen = "L";
    if (trace.marks) dots += `<circle cx="${at.x(x).toFixed(1)}" cy="${at.y(y).toFixed(1)}" r="2.5" fill="${trace.color}"/>`;
  });
  const dash = DASHES[trace.dash] ? ` stroke-dasharray="${DASHES[trace.dash]}"` : "";
  return `<path class="line" d="${path}" fill="none" stroke="${trace.color}" stroke-width="${trace.width}"${dash}/>${dots}`;
}

function hover(root) {
  const tip = root.querySelector(".tip"), guide = root.querySelector(".guide");
  const { chart, at, pointer } = root;
  const inside = pointer === null || pointer === undefined ? -1 : pointer - root.getBoundingClientRect().left;
  const lines = inside < LEFT ? [] : chart.traces.filter((trace) => trace.x.length).map((trace) => {
    const k = trace.x.reduce((best, x, index) => Math.abs(at.x(x) - inside) < Math.abs(at.x(trace.x[best]) - inside) ? index : best, 0);
    return { place: at.x(trace.x[k]), words: `${trace.name} at ${short(trace.x[k])}: ${trace.y[k] === null ? "–" : short(trace.y[k])}` };
  });
  tip.textContent = lines.map((found) => found.words).join("\n");
  guide?.setAttribute("visibility", lines.length ? "visible" : "hidden");
  if (!lines.length) return;
  guide.setAttribute("x1", lines.at(-1).place);
  guide.setAttribute("x2", lines.at(-1).place);
  tip.style.left = `${Math.min(inside + 12, root.clientWidth - tip.offsetWidth)}px`;
}

function ticks(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power * count >= high - low);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1)
    for (const factor of high - low >= 2 ? [1] : [1, 2, 5])
      if (Math.log10(factor) + power >= low && Math.log10(factor) + power <= high) found.push(factor * 10 ** power);
  return found;
}

function short(value) {
  return Math.abs(value) >= 1000 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString();
}

function escape(text) {
  const node = document.createElement("i");
  node.textContent = text;
  return node.innerHTML;
}

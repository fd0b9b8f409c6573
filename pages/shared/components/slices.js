// Slices with one crosshair: click or drag moves it, wheel and keys too once a slice has the focus; or a box is drawn on a slice.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const view = (root.view ??= { pressed: null, sent: 0 });
  view.data = data;
  view.send = (name, value) => setTriggerValue(name, value);
  if (!view.pressed) view.index = data.index ? [...data.index] : null;
  root.classList.toggle("smooth", data.smooth);
  root.classList.toggle("boxing", data.mode === "box");
  root.style.setProperty("--columns", data.rows[0].panes.length);
  root.style.setProperty("--rows", data.rows.length);
  const scale = root.querySelector(".scale") ?? root.appendChild(makeScale());
  scale.hidden = !data.scale;
  root.classList.toggle("unscaled", !data.scale);
  const flat = data.rows.flatMap((row, at) => row.panes.map((pane, column) => ({ row, at, pane, column })));
  let figures = [...root.querySelectorAll("figure")];
  while (figures.length > flat.length) figures.pop().remove();
  while (figures.length < flat.length) figures.push(root.insertBefore(makePane(root), scale));
  flat.forEach((entry, index) => fill(figures[index], entry, data));
  if (data.scale) fillScale(scale, data.scale, figures[0]);
  drawCross(root);
  drawBoxes(root, data.box);
}

function fill(figure, { row, at, pane, column }, data) {
  figure.querySelector(".title").textContent = pane.title;
  figure.querySelector(".caption").textContent = pane.caption ?? "";
  const link = figure.querySelector("a");
  link.href = pane.src;
  link.download = pane.file;
  link.setAttribute("aria-label", `Download ${pane.title} ${row.name} as PNG`);
  const picture = figure.querySelector(".picture");
  picture.dataset.row = at;
  picture.style.width = `${100 * row.share}%`;
  picture.style.aspectRatio = String(row.aspect);
  picture.tabIndex = column === 0 && data.index ? 0 : -1;
  picture.setAttribute("role", "application");
  picture.setAttribute("aria-roledescription", "slice");
  picture.setAttribute("aria-label", `${row.name}, ${row.place}. Arrow keys move the crosshair, Page Up and Page Down the slice.`);
  const image = picture.querySelector("img");
  image.alt = pane.alt;
  if (image.src !== pane.src) image.src = pane.src;
  picture.querySelectorAll(".letter").forEach((letter, side) => { letter.textContent = row.letters?.[side] ?? ""; });
}

// Where the crosshair is on a row: from the index where the row's sides run along axes, else as the server said.
function crossOf(row, view) {
  if (!row.right) return row.cross;
  return [row.right, row.down].map(([axis, sign]) => {
    const share = (view.index[axis] + 0.5) / view.data.shape[axis];
    return sign > 0 ? share : 1 - share;
  });
}

function drawCross(root) {
  const view = root.view;
  root.querySelectorAll(".picture").forEach((picture) => {
    const row = view.data.rows[picture.dataset.row];
    const cross = view.index && view.data.cross !== false ? crossOf(row, view) : null;
    picture.classList.toggle("crossed", Boolean(cross));
    if (!cross) return;
    picture.style.setProperty("--x", `${100 * cross[0]}%`);
    picture.style.setProperty("--y", `${100 * cross[1]}%`);
  });
}

function drawBoxes(root, box) {
  root.querySelectorAll(".picture").forEach((picture) => {
    const drawn = picture.querySelector(".box");
    const shown = box && Number(picture.dataset.row) === box.row;
    drawn.hidden = !shown;
    if (!shown) return;
    const [left, top, right, bottom] = box.sides;
    Object.assign(drawn.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
  });
}

const shareOf = (event, picture) => {
  const { left, top, width, height } = picture.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map((share) => Math.min(1, Math.max(0, share)));
};

function place(root, axis, value) {
  const view = root.view;
  view.index[axis] = Math.round(10 * Math.min(view.data.shape[axis] - 1, Math.max(0, value))) / 10;
}

function move(root, row, x, y, last) {
  const view = root.view;
  if (!row.right) { if (last) view.send("picked", { row: view.data.rows.indexOf(row), x, y }); return; }
  [[row.right, x], [row.down, y]].forEach(([[axis, sign], share]) => {
    place(root, axis, (sign > 0 ? share : 1 - share) * view.data.shape[axis] - 0.5);
  });
  drawCross(root);
  sendMoved(root, last);
}

// At most about six moves a second go to the server; the last one always does.
function sendMoved(root, last) {
  const view = root.view, wait = view.sent + 160 - performance.now();
  clearTimeout(view.timer);
  if (wait > 0) { view.timer = setTimeout(() => sendMoved(root, true), last ? Math.max(wait, 0) : wait); return; }
  view.sent = performance.now();
  view.send("moved", [...view.index]);
}

function makePane(root) {
  const figure = document.createElement("figure");
  figure.innerHTML =
    '<figcaption><span class="title"></span><a title="Download this picture">PNG</a><span class="caption"></span></figcaption>' +
    '<div class="frame"><div class="picture"><img draggable="false"><i class="v"></i><i class="h"></i><i class="box" hidden></i>' +
    '<span class="letter"></span>'.repeat(4) + "</div></div>";
  const picture = figure.querySelector(".picture");
  const view = root.view, row = () => view.data.rows[picture.dataset.row];
  picture.onpointerdown = (event) => {
    if (event.button || !view.data.index) return;
    picture.focus({ preventScroll: true });
    picture.setPointerCapture(event.pointerId);
    view.pressed = { start: shareOf(event, picture) };
    if (view.data.mode !== "box") move(root, row(), ...view.pressed.start, false);
    event.preventDefault();
  };
  picture.onpointermove = (event) => {
    if (!view.pressed) return;
    const here = shareOf(event, picture);
    if (view.data.mode === "box") drawBoxes(root, { row: Number(picture.dataset.row), sides: sidesOf(view.pressed.start, here) });
    else move(root, row(), ...here, false);
  };
  picture.onpointerup = (event) => {
    if (!view.pressed) return;
    const here = shareOf(event, picture), start = view.pressed.start;
    view.pressed = null;
    if (view.data.mode !== "box") return move(root, row(), ...here, true);
    const sides = sidesOf(start, here);
    if (sides[2] - sides[0] > 0.02 && sides[3] - sides[1] > 0.02) view.send("boxed", { row: Number(picture.dataset.row), sides });
    else drawBoxes(root, view.data.box);
  };
  picture.onpointercancel = () => { view.pressed = null; drawBoxes(root, view.data.box); };
  picture.addEventListener("wheel", (event) => {
    if (picture.getRootNode().activeElement !== picture || !row().right || event.ctrlKey) return;
    event.preventDefault();
    step(root, row(), event.deltaY > 0 ? -1 : 1);
  }, { passive: false });
  picture.onkeydown = (event) => {
    const here = row();
    if (!here.right || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowRight: [here.right, 1], ArrowLeft: [here.right, -1], ArrowDown: [here.down, 1], ArrowUp: [here.down, -1] };
    if (event.key === "PageUp" || event.key === "PageDown") step(root, here, event.key === "PageUp" ? 1 : -1);
    else if (keys[event.key]) {
      const [[axis, sign], way] = keys[event.key];
      place(root, axis, view.index[axis] + sign * way);
      drawCross(root);
      sendMoved(root, true);
    } else return;
    event.preventDefault();
  };
  return figure;
}

function step(root, row, way) {
  place(root, row.across, root.view.index[row.across] + way);
  drawCross(root);
  sendMoved(root, true);
}

const sidesOf = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

function fillScale(scale, given, first) {
  scale.style.setProperty("--stops", given.stops.join(", "));
  scale.style.setProperty("--head", `${first.querySelector("figcaption").offsetHeight + 5}px`);
  scale.setAttribute("aria-label", `${given.label}: ${given.low} to ${given.high}`);
  scale.title = given.label;
  scale.querySelector(".low").textContent = given.low;
  scale.querySelector(".high").textContent = given.high;
}

function makeScale() {
  const scale = document.createElement("div");
  scale.className = "scale";
  scale.setAttribute("role", "img");
  scale.innerHTML = '<div class="bar"></div><div class="ends"><span class="high"></span><span class="low"></span></div>';
  return scale;
}

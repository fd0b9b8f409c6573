// The map of a latent space: hover for the decoded picture, click to open, box or lasso to select, legend to hide classes.
// Pictures and marks come through a store on the window that the courier beside this file fills, so that they never
// make the points travel again.
const MOVE = "move", BOX = "box", LASSO = "lasso";
const HELP = { move: "Drag to move, wheel to zoom", turn: "Drag to turn, wheel to zoom", box: "Drag a box to select", lasso: "Draw around points to select" };

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  root.map ??= makeMap(root);
  root.map.send = setTriggerValue;
  const header = readHeader(data);
  if (root.map.header !== header.text) {  // else the page was drawn anew around the same map: half a million points stay as they are
    root.map.header = header.text;
    root.map.show(unpack(data, header));
  }
  return () => setTimeout(() => { if (!root.isConnected) root.map?.destroy(); }, 1000);
}

function mapStore(name) {
  window.medfunctaMaps ??= {};
  return (window.medfunctaMaps[name] ??= { pictures: new Map(), marks: [] });
}

function makeMap(root) {
  root.innerHTML = `<div class="bar" role="toolbar" aria-label="Map tools"></div><div class="plot"><canvas tabindex="0"></canvas>
    <svg class="over" aria-hidden="true"></svg><div class="tip" hidden><div class="frame"><img alt=""></div><b></b><span></span></div></div>
    <div class="legend"></div>`;
  const [canvas, over, tip] = ["canvas", ".over", ".tip"].map((name) => root.querySelector(name));
  const map = { scene: null, drawing: null, camera: null, mode: MOVE, hidden: new Set(), chosen: null, hovered: -1, dirty: true };
  let screen = new Float32Array(0), wanted = 0, path = [];

  const size = () => [canvas.clientWidth || 1, canvas.clientHeight || 1];
  const matrix = () => cameraMatrix(map.camera, ...size());
  const places = () => {
    if (map.dirty) projectAll(map.scene, matrix(), ...size(), screen);
    map.dirty = false;
    return screen;
  };
  const redraw = () => { map.dirty = true; wanted ||= requestAnimationFrame(paint); };

  function paint() {
    wanted = 0;
    if (!root.isConnected || !map.drawing) return;
    const [width, height] = size(), ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    const many = map.scene.count > 30000;
    const point = ratio * (many ? 1.6 : map.scene.count > 8000 ? 3.4 : map.scene.count > 600 ? 5.5 : 8) * Math.min(3, Math.sqrt(map.camera.zoom));
    map.drawing.draw({ matrix: matrix(), size: point, opacity: many ? 0.55 : 0.85 });
    paintMarks();
    canvas.dataset.painted = String(Number(canvas.dataset.painted ?? 0) + 1);
  }

  function paintMarks() {
    if (map.drawing) drawMarks(over, map.store.marks, map.scene, matrix(), size());
  }

  function restate() {
    const { scene } = map;
    for (let i = 0; i < scene.count; i++) {
      scene.states[i] = map.hidden.has(scene.codes[i]) ? HIDDEN : !map.chosen ? SHOWN : map.chosen[i] ? CHOSEN : DIMMED;
    }
    map.drawing.restate();
    redraw();
  }

  map.show = (scene) => {
    const previous = map.scene, same = previous?.points === scene.points;
    scene.states = same ? previous.states : new Uint8Array(scene.count).fill(SHOWN);
    scene.paletteBytes = paletteBytes(scene.palette);
    map.scene = scene;
    map.store = mapStore(scene.name);
    canvas.setAttribute("aria-label", scene.label);
    if (!same) {
      map.drawing?.destroy();
      map.camera = makeCamera(scene);
      map.chosen = null;
      map.hidden.clear();
      screen = new Float32Array(2 * scene.count);
      try { map.drawing = makeDrawing(canvas, scene); } catch { root.classList.add("broken"); return; }
    } else {
      if (previous.colouring !== scene.colouring) map.hidden.clear();
      map.drawing.recolour();
    }
    fillLegend(root.querySelector(".legend"), scene, map, restate);
    fillBar(root.querySelector(".bar"), map, canvas, { clear: () => select(null), reset: () => { map.camera = makeCamera(scene); redraw(); }, paint });
    restate();
  };

  function select(chosen) {
    if (!chosen && !map.chosen) return;
    map.chosen = chosen;
    restate();
    map.send("selected", chosen ? packRows(chosen) : "");
  }

  function closeSelection() {
    const polygon = path.length === 2 && map.mode === BOX
      ? [path[0], [path[1][0], path[0][1]], path[1], [path[0][0], path[1][1]]] : path;
    path = [];
    over.querySelector(".path")?.remove();
    if (polygon.length < 3) return;
    const at = places(), chosen = new Uint8Array(map.scene.count);
    let any = 0;
    for (let i = 0; i < map.scene.count; i++) {
      if (map.scene.states[i] !== HIDDEN && isInside(polygon, at[2 * i], at[2 * i + 1])) any += chosen[i] = 1;
    }
    select(any ? chosen : null);
  }

  const here = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const pointers = new Map();
  let moved = 0, pinch = 0;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, here(event));
    moved = 0;
    path = map.mode !== MOVE || event.shiftKey ? [here(event)] : [];
    hideTip();
  };
  canvas.onpointermove = (event) => {
    const at = here(event), before = pointers.get(event.pointerId);
    if (!before) return hover(at);
    const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
    moved += Math.abs(dx) + Math.abs(dy);
    pointers.set(event.pointerId, at);
    if (path.length) {
      if (map.mode === BOX) path[1] = at; else path.push(at);
      drawPath(over, path, map.mode === BOX);
    } else if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], span = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch) zoomAt([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], span / pinch);
      pinch = span;
    } else moveCamera(dx, dy);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    pointers.delete(event.pointerId);
    pinch = 0;
    if (moved < 5 && event.type === "pointerup") {
      path = [];
      const [row] = nearestPoints(map.scene, places(), ...here(event), 12, 1);
      if (row !== undefined) map.send("picked", row);
    } else if (path.length) closeSelection();
  };
  canvas.onpointerleave = () => { if (!pointers.size) hideTip(); };
  canvas.ondblclick = () => select(null);
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); hideTip(); zoomAt(here(event), Math.exp(-0.0015 * event.deltaY)); }, { passive: false });
  canvas.onkeydown = (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    const factor = { "+": 1.25, "=": 1.25, "-": 0.8 }[event.key];
    if (step) moveCamera(...step);
    else if (factor) zoomAt(size().map((side) => side / 2), factor);
    else if (event.key === "Escape") select(null);
    else return;
    event.preventDefault();
  };

  function moveCamera(dx, dy) {
    const { camera } = map, m = matrix(), [width, height] = size();
    if (camera.dims === 2) {
      camera.x -= (2 * dx) / width / m[0];
      camera.y += (2 * dy) / height / m[5];
    } else {
      camera.yaw += dx * 0.008;
      camera.pitch = Math.max(-1.5, Math.min(1.5, camera.pitch + dy * 0.008));
    }
    redraw();
  }

  function zoomAt([x, y], factor) {
    const { camera } = map, [width, height] = size(), m = matrix();
    const zoom = Math.max(0.5, Math.min(400, camera.zoom * factor)), share = 1 - camera.zoom / zoom;
    if (camera.dims === 2) {
      camera.x += (share * ((2 * x) / width - 1)) / m[0];
      camera.y += (share * (1 - (2 * y) / height)) / m[5];
    }
    camera.zoom = zoom;
    redraw();
  }

  function hideTip() { tip.hidden = true; map.hovered = -1; }
  function hover([x, y]) {
    const near = nearestPoints(map.scene, places(), x, y, 11, 1);
    canvas.style.cursor = near.length ? "pointer" : map.mode === MOVE ? "grab" : "crosshair";
    if (!near.length) return hideTip();
    if (near[0] !== map.hovered) {
      map.hovered = near[0];
      fillTip();
      clearTimeout(map.asking);
      map.asking = setTimeout(() => ask([x, y]), 50);
    }
    const [width, height] = size();
    tip.style.left = `${x > width / 2 ? x - 160 : x + 16}px`;
    tip.style.top = `${Math.max(4, Math.min(y - 60, height - 190))}px`;
  }

  // The hovered point first; once it is there, those around it, for the next move of the pointer.
  function ask([x, y]) {
    if (map.hovered < 0) return;
    const known = map.store.pictures, first = !known.has(map.hovered);
    const rows = first ? [map.hovered] : nearestPoints(map.scene, places(), x, y, 60, 40).filter((row) => !known.has(row)).slice(0, 6);
    if (rows.length) document.dispatchEvent(new CustomEvent("medfuncta-ask", { detail: { name: map.scene.name, rows } }));
    map.around = first ? () => ask([x, y]) : null;
  }

  function fillTip() {
    const picture = map.store.pictures.get(map.hovered), code = map.scene.codes[map.hovered];
    const entry = map.scene.legend.find((known) => known.code === code);
    tip.hidden = false;
    tip.dataset.row = String(map.hovered);
    tip.classList.toggle("waiting", !picture);
    const image = tip.querySelector("img");
    image.hidden = !picture;
    if (picture) image.src = picture.src;
    tip.querySelector("b").textContent = picture?.title ?? entry?.name ?? `Row ${map.hovered}`;
    tip.querySelector("span").textContent = picture?.detail ?? `row ${map.hovered}`;
  }

  const news = (event) => {
    if (!root.isConnected) return;
    if (event.detail !== map.scene?.name) return;
    paintMarks();  // the points are as they were
    if (map.hovered >= 0) fillTip();
    if (map.around && map.store.pictures.has(map.hovered)) { const next = map.around, row = map.hovered; map.around = null; setTimeout(() => { if (map.hovered === row) next(); }, 250); }
  };
  document.addEventListener("medfuncta-pictures", news);
  const watcher = new ResizeObserver(redraw);
  watcher.observe(canvas);
  map.destroy = () => { document.removeEventListener("medfuncta-pictures", news); watcher.disconnect(); map.drawing?.destroy(); root.map = null; };
  return map;
}

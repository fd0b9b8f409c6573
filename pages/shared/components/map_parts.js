// What lies around and over the points: tools, legend, marks, the path of a selection.
const SVG = "http://www.w3.org/2000/svg";

function paletteBytes(colours) {
  const bytes = new Uint8Array(4 * 256).fill(128);
  colours.forEach((hex, i) => bytes.set([1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)), 4 * i));
  return bytes;
}

function fillBar(bar, map, canvas, actions) {
  if (!bar.children.length) {
    for (const [mode, words] of [[MOVE, "Move"], [BOX, "Box"], [LASSO, "Lasso"]]) {
      const button = bar.appendChild(makeButton(words));
      button.dataset.mode = mode;
      button.onclick = () => { map.mode = mode; fillBar(bar, map, canvas, actions); };
    }
    bar.appendChild(makeButton("Clear")).dataset.action = "clear";
    bar.appendChild(makeButton("Whole map")).dataset.action = "reset";
    const link = bar.appendChild(document.createElement("a"));
    link.textContent = "PNG";
    link.title = "Download this view";
    bar.appendChild(document.createElement("span"));
  }
  bar.querySelector("[data-action=clear]").onclick = actions.clear;
  bar.querySelector("[data-action=reset]").onclick = actions.reset;
  bar.querySelector("a").onclick = (event) => {
    actions.paint();  // the picture of a WebGL canvas lasts only until the browser has shown it
    event.currentTarget.href = canvas.toDataURL("image/png");
    event.currentTarget.download = "map.png";
  };
  bar.querySelector("a").href = "#";
  for (const button of bar.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === map.mode));
  bar.querySelector("span").textContent = HELP[map.mode === MOVE && map.scene.dims === 3 ? "turn" : map.mode];
}

function makeButton(words) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  return button;
}

function fillLegend(legend, scene, map, restate) {
  legend.replaceChildren();
  if (scene.scale) {
    const bar = document.createElement("div");
    bar.className = "scale";
    bar.innerHTML = "<span></span><i></i><span></span><b></b>";
    const [low, ramp, high, label] = bar.children;
    [low.textContent, high.textContent, label.textContent] = [scene.scale.low, scene.scale.high, scene.scale.label];
    ramp.style.background = `linear-gradient(90deg, ${scene.scale.stops.join(", ")})`;
    legend.append(bar);
  }
  for (const entry of scene.legend) {
    const button = makeButton(entry.name);
    const dot = document.createElement("i"), count = document.createElement("span");
    dot.style.background = scene.palette[entry.code];
    count.textContent = entry.count.toLocaleString("en");
    button.prepend(dot);
    button.append(count);
    button.title = "Show or hide; double-click shows this one alone";
    const mark = () => [...legend.querySelectorAll("button")].forEach((other, i) => other.setAttribute("aria-pressed", String(!map.hidden.has(scene.legend[i].code))));
    button.onclick = () => { if (!map.hidden.delete(entry.code)) map.hidden.add(entry.code); mark(); restate(); };
    button.ondblclick = () => {
      map.hidden.clear();
      scene.legend.forEach((other) => { if (other !== entry) map.hidden.add(other.code); });
      mark();
      restate();
    };
    button.setAttribute("aria-pressed", String(!map.hidden.has(entry.code)));
    legend.append(button);
  }
}

function drawPath(over, path, box) {
  let shape = over.querySelector(".path");
  if (!shape) {
    shape = over.appendChild(document.createElementNS(SVG, "polygon"));
    shape.setAttribute("class", "path");
  }
  const corners = box && path.length === 2 ? [path[0], [path[1][0], path[0][1]], path[1], [path[0][0], path[1][1]]] : path;
  shape.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
}

// Rings for the opened point and its neighbours, a diamond for a dropped file; numbers say which neighbour.
function drawMarks(over, marks, scene, m, [width, height]) {
  over.querySelectorAll(".mark").forEach((mark) => mark.remove());
  const written = [];
  for (const mark of marks) {
    const from = mark.row === undefined ? mark.at : [...scene.positions.subarray(mark.row * scene.dims, (mark.row + 1) * scene.dims)];
    const [x, y, z = 0] = from;
    const w = m[3] * x + m[7] * y + m[11] * z + m[15];
    const px = (0.5 + (0.5 * (m[0] * x + m[4] * y + m[8] * z + m[12])) / w) * width;
    const py = (0.5 - (0.5 * (m[1] * x + m[5] * y + m[9] * z + m[13])) / w) * height;
    const group = over.appendChild(document.createElementNS(SVG, "g"));
    group.setAttribute("class", `mark ${mark.kind}`);
    group.setAttribute("transform", `translate(${px.toFixed(1)} ${py.toFixed(1)})`);
    const [halo, shape] = [0, 1].map(() => group.appendChild(document.createElementNS(SVG, "path")));
    halo.setAttribute("class", "halo");
    shape.setAttribute("d", mark.kind === "dropped" ? "M0-10L10 0L0 10L-10 0Z" : mark.kind === "opened" ? "M-9 0a9 9 0 1 0 18 0a9 9 0 1 0-18 0" : "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0");
    halo.setAttribute("d", shape.getAttribute("d"));
    if (!mark.words || mark.kind !== "dropped" && written.some(([x, y]) => Math.abs(x - px) < 18 && Math.abs(y - py) < 11)) continue;
    written.push([px, py]);
    const text = group.appendChild(document.createElementNS(SVG, "text"));
    text.setAttribute("x", "12");
    text.setAttribute("y", "4");
    text.textContent = mark.words;
  }
}

// What both candidates stand on: a canvas, a tooltip that says when it appeared, and the points out of the bytes.
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999"];

export function makePlace(parent) {
  const root = parent.querySelector(".root");
  if (root.dataset.made) return null;
  root.dataset.made = "yes";
  const width = root.clientWidth, height = 600;
  root.innerHTML = `<canvas class="map" style="width:${width}px;height:${height}px"></canvas><div class="map-tooltip" hidden></div>`;
  const [canvas, tooltip] = root.children;
  canvas.width = width;
  canvas.height = height;
  const hover = (index) => {
    tooltip.hidden = index < 0;
    tooltip.textContent = index < 0 ? "" : String(index);
  };
  return { canvas, width, height, colours: COLOURS, hover };
}

export function unpack(bytes) {
  const copy = bytes.slice().buffer, count = copy.byteLength / 9;
  return { count, x: new Float32Array(copy, 0, count), y: new Float32Array(copy, 4 * count, count), z: new Uint8Array(copy, 8 * count) };
}

// Points of a map on a canvas: unpacking, camera, drawing with regl, and where every point is on the screen.
// In two dimensions the camera pans and zooms, in three it turns about the middle and zooms.

const HIDDEN = 0, SHOWN = 1, DIMMED = 2, CHOSEN = 3;

// Bytes: length of the header, header (JSON), positions (float32, point by point), colours (an index into the palette each).
function readHeader(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return { text: new TextDecoder().decode(bytes.subarray(4, 4 + length)), start: 4 + length };
}

function unpack(bytes, { text, start }) {
  const copy = bytes.slice(), header = JSON.parse(text), numbers = header.count * header.dims;
  const positions = new Float32Array(copy.buffer, start, numbers);
  const codes = new Uint8Array(copy.buffer, start + 4 * numbers, header.count);
  return { ...header, positions, codes };
}

// `reach` is how far points lie from the middle on each axis: a wide map fills a wide canvas.
function makeCamera({ dims, positions }) {
  const reach = [1e-6, 1e-6];
  for (let at = 0; dims === 2 && at < positions.length; at++) reach[at & 1] = Math.max(reach[at & 1], Math.abs(positions[at]));
  return { dims, reach: dims === 2 ? reach : [1, 1], x: 0, y: 0, zoom: 1, yaw: 0.7, pitch: 0.5 };
}

// Positions lie in [-1, 1] on every axis; column-major, as WebGL wants it.
function cameraMatrix(camera, width, height) {
  const side = 0.92 * Math.min(width / camera.reach[0], height / camera.reach[1]), sx = (camera.zoom * side) / width, sy = (camera.zoom * side) / height;
  if (camera.dims === 2) {
    return [sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, 0, 0, -camera.x * sx, -camera.y * sy, 0, 1];
  }
  const [cy, syaw, cp, sp] = [Math.cos(camera.yaw), Math.sin(camera.yaw), Math.cos(camera.pitch), Math.sin(camera.pitch)];
  const k = 0.75, right = [cy, 0, -syaw], up = [-syaw * sp, cp, -cy * sp], deep = [syaw * cp, sp, cy * cp];
  const columns = [0, 1, 2].map((axis) => [k * sx * right[axis], k * sy * up[axis], -0.3 * deep[axis], -0.25 * deep[axis]]);
  return [...columns.flat(), 0, 0, 0, 1];
}

function makeDrawing(canvas, scene) {
  const regl = createREGL({ canvas, attributes: { alpha: true, premultipliedAlpha: true, antialias: false } });
  const position = regl.buffer(scene.positions), code = regl.buffer(scene.codes), state = regl.buffer(scene.states);
  const palette = regl.texture({ data: scene.paletteBytes, width: 256, height: 1, mag: "nearest", min: "nearest" });
  const flat = scene.dims === 2;
  const draw = regl({
    vert: `precision highp float; attribute ${flat ? "vec2" : "vec3"} position; attribute float code, state;
      uniform mat4 matrix; uniform float size; uniform sampler2D palette; uniform float opacity; varying vec4 colour;
      void main() {
        gl_Position = state < 0.5 ? vec4(2.0, 2.0, 2.0, 1.0) : matrix * vec4(position${flat ? ", 0.0" : ""}, 1.0);
        gl_PointSize = size * (state > 2.5 ? 1.25 : 1.0)${flat ? "" : " / gl_Position.w"};
        colour = vec4(texture2D(palette, vec2((code + 0.5) / 256.0, 0.5)).rgb, state > 2.5 ? 1.0 : state > 1.5 ? 0.13 : opacity);
      }`,
    frag: `precision mediump float; varying vec4 colour;
      void main() {
        vec2 away = gl_PointCoord - 0.5;
        if (dot(away, away) > 0.25) discard;
        gl_FragColor = vec4(colour.rgb * colour.a, colour.a);
      }`,
    attributes: {
      position: { buffer: position, size: scene.dims },
      code: { buffer: code, size: 1, type: "uint8" },
      state: { buffer: state, size: 1, type: "uint8" },
    },
    uniforms: { matrix: regl.prop("matrix"), size: regl.prop("size"), opacity: regl.prop("opacity"), palette },
    depth: { enable: !flat }, blend: { enable: true, func: { src: "one", dst: "one minus src alpha" } },
    primitive: "points", count: scene.count,
  });
  return {
    draw: (frame) => { regl.poll(); regl.clear({ color: [0, 0, 0, 0], depth: 1 }); draw(frame); },
    recolour: () => { code(scene.codes); palette({ data: scene.paletteBytes, width: 256, height: 1, mag: "nearest", min: "nearest" }); },
    restate: () => state(scene.states),
    destroy: () => regl.destroy(),
  };
}

// Pixels of every point for a matrix, two numbers each; what lies behind the camera goes far away.
function projectAll(scene, matrix, width, height, out) {
  const { positions, dims, count } = scene, m = matrix;
  for (let i = 0, at = 0; i < count; i++, at += dims) {
    const x = positions[at], y = positions[at + 1], z = dims === 3 ? positions[at + 2] : 0;
    const w = m[3] * x + m[7] * y + m[11] * z + m[15];
    out[2 * i] = (0.5 + (0.5 * (m[0] * x + m[4] * y + m[8] * z + m[12])) / w) * width;
    out[2 * i + 1] = (0.5 - (0.5 * (m[1] * x + m[5] * y + m[9] * z + m[13])) / w) * height;
  }
  return out;
}

// The visible points nearest to a place on the screen, nearest first, within a radius in pixels.
function nearestPoints(scene, screen, x, y, radius, limit) {
  const found = [];
  for (let i = 0; i < scene.count; i++) {
    if (scene.states[i] === HIDDEN) continue;
    const dx = screen[2 * i] - x, dy = screen[2 * i + 1] - y;
    if (dx > radius || dx < -radius || dy > radius || dy < -radius) continue;
    const distance = dx * dx + dy * dy;
    if (distance <= radius * radius) found.push([distance, i]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, limit).map(([, i]) => i);
}

// Whether a point lies in a polygon of [x, y]: crossings of a ray, odd is inside.
function isInside(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

// Rows as bits, lowest first, in base64: 500,000 points are 83 kB.
function packRows(chosen) {
  const bytes = new Uint8Array(Math.ceil(chosen.length / 8));
  chosen.forEach((yes, i) => { if (yes) bytes[i >> 3] |= 1 << (i & 7); });
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

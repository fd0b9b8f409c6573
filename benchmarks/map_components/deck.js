// Candidate: deck.gl. Bytes as in regl.js; hover by deck.gl's picking buffer.
import { Deck, OrthographicView } from "@deck.gl/core";
import { ScatterplotLayer } from "@deck.gl/layers";
import { makePlace, unpack } from "./place.js";

export default function ({ data, parentElement }) {
  const place = makePlace(parentElement);
  if (!place) return;
  const { x, y, z, count } = unpack(data);
  const positions = new Float32Array(2 * count), colours = new Uint8Array(4 * count);
  const rgb = place.colours.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  for (let i = 0; i < count; i++) {
    positions.set([x[i], y[i]], 2 * i);
    colours.set([...rgb[z[i]], 180], 4 * i);
  }
  new Deck({
    canvas: place.canvas, width: place.width, height: place.height, views: new OrthographicView({ flipY: false }),
    initialViewState: { target: [0, 0, 0], zoom: Math.log2(place.height / 2.2) }, controller: true,
    onHover: ({ index }) => place.hover(index),
    layers: [new ScatterplotLayer({
      id: "points", pickable: true, radiusUnits: "pixels", getRadius: count > 50000 ? 1 : 2.5,
      data: { length: count, attributes: { getPosition: { value: positions, size: 2 }, getFillColor: { value: colours, size: 4 } } },
    })],
  });
}

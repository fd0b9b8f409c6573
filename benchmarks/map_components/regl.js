// Candidate: regl-scatterplot. Bytes are n x float32, n y float32, n class uint8.
import createScatterplot from "regl-scatterplot";
import { makePlace, unpack } from "./place.js";

export default function ({ data, parentElement }) {
  const place = makePlace(parentElement);
  if (!place) return;
  const { x, y, z, count } = unpack(data);
  const plot = createScatterplot({
    canvas: place.canvas, width: place.width, height: place.height, pointSize: count > 50000 ? 1.5 : 4, opacity: 0.7,
    pointColor: place.colours, colorBy: "valueA", spatialIndexUseWorker: count > 50000,
  });
  plot.subscribe("pointOver", (point) => place.hover(point));
  plot.subscribe("pointOut", () => place.hover(-1));
  plot.draw({ x, y, valueA: z }, { zDataType: "categorical" });
}

// Whether this browser can draw volumes: WebGL 2 is there or not; says so once.
export default function ({ parentElement, setStateValue }) {
  const root = parentElement.querySelector(".root");
  if (root.dataset.told) return;
  root.dataset.told = "yes";
  const context = document.createElement("canvas").getContext("webgl2");
  setStateValue("webgl", Boolean(context));
  context?.getExtension("WEBGL_lose_context")?.loseContext();
}

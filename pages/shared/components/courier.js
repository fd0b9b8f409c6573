// Carries what the map asks for to the server and what the server sends to the map, without drawing anything itself.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  window.medfunctaMaps ??= {};
  const store = (window.medfunctaMaps[data.name] ??= { pictures: new Map(), marks: [] });
  for (const [row, picture] of Object.entries(data.pictures)) store.pictures.set(Number(row), picture);
  store.marks = data.marks;
  document.dispatchEvent(new CustomEvent("medfuncta-pictures", { detail: data.name }));
  root.carry = (detail) => { if (detail.name === data.name) setTriggerValue("asked", detail.rows); };
  if (root.listening) return;
  root.listening = (event) => { if (root.isConnected) root.carry(event.detail); else document.removeEventListener("medfuncta-ask", root.listening); };
  document.addEventListener("medfuncta-ask", root.listening);
}

// Plays frames there and back; all are in the browser already, so playing needs no server.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  if (!root.children.length) make(root);
  root.classList.toggle("smooth", data.smooth);
  root.classList.toggle("wide", data.wide);
  const [tracks, button, slider, caption] = [".tracks", "button", "input", ".caption"].map((name) => root.querySelector(name));
  while (tracks.children.length > data.tracks.length) tracks.lastElementChild.remove();
  while (tracks.children.length < data.tracks.length) {
    const figure = document.createElement("figure");
    figure.innerHTML = "<figcaption></figcaption><img>";
    tracks.append(figure);
  }
  const last = data.captions.length - 1;
  slider.max = String(last);
  slider.setAttribute("aria-label", data.label);
  const show = (index) => {
    slider.value = String(index);
    slider.setAttribute("aria-valuetext", data.captions[index]);
    caption.textContent = data.captions[index];
    data.tracks.forEach((track, at) => {
      const [title, image] = tracks.children[at].children;
      title.textContent = track.title;
      image.alt = `${track.title}, ${data.captions[index]}`;
      if (image.src !== track.frames[index]) image.src = track.frames[index];
    });
  };
  show(Math.min(Number(slider.dataset.index ?? Math.round(last / 2)), last));
  const keep = (index) => { slider.dataset.index = String(index); show(index); };
  slider.oninput = () => { stop(); keep(Number(slider.value)); };
  const stop = () => { clearInterval(root.timer); root.timer = 0; button.textContent = "▶ Play"; };
  const play = () => {
    let step = Number(slider.value) >= last ? -1 : 1;
    button.textContent = "❚❚ Pause";
    root.timer = setInterval(() => {
      if (!root.isConnected) return stop();
      const next = Number(slider.value) + step;
      if (next <= 0 || next >= last) step = -step;
      keep(Math.max(0, Math.min(last, next)));
    }, 1000 / data.per_second);
  };
  button.onclick = () => (root.timer ? stop() : play());
  if (root.timer) { stop(); play(); }
}

function make(root) {
  root.innerHTML = `<div class="tracks"></div><div class="bar"><button type="button">▶ Play</button>
    <input type="range" min="0" step="1"></div><div class="caption" aria-live="off"></div>`;
}

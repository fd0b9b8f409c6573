// Rows of pictures; nodes are kept between updates, so that only the changed picture is repainted.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const flat = data.rows.flat();
  root.style.setProperty("--columns", data.rows[0].length);
  root.classList.toggle("smooth", data.smooth);
  root.classList.toggle("bare", !data.scale);
  const scale = root.querySelector(".scale") ?? root.appendChild(makeScale());
  let figures = [...root.querySelectorAll("figure")];
  while (figures.length > flat.length) figures.pop().remove();
  while (figures.length < flat.length) figures.push(root.insertBefore(makePane(), scale));
  flat.forEach((pane, index) => fill(figures[index], pane));
  root.style.setProperty("--rows", data.rows.length);
  if (!data.scale) return;
  scale.style.setProperty("--stops", data.scale.stops.join(", "));
  scale.style.setProperty("--head", `${figures[0].querySelector("figcaption").offsetHeight + 5}px`);
  scale.setAttribute("aria-label", `${data.scale.label}: ${data.scale.low} to ${data.scale.high}`);
  scale.title = data.scale.label;
  scale.querySelector(".low").textContent = data.scale.low;
  scale.querySelector(".high").textContent = data.scale.high;
}

function fill(figure, pane) {
  figure.querySelector(".title").textContent = pane.title;
  figure.querySelector(".caption").textContent = pane.caption ?? "";
  const link = figure.querySelector("a");
  link.href = pane.src;
  link.download = pane.file;
  link.setAttribute("aria-label", `Download ${pane.title} as PNG`);
  const picture = figure.querySelector(".picture");
  picture.style.width = `${100 * (pane.share ?? 1)}%`;
  picture.style.aspectRatio = String(pane.aspect);
  const image = picture.querySelector("img");
  image.alt = pane.alt;
  if (image.src !== pane.src) image.src = pane.src;
  picture.querySelectorAll(".letter").forEach((letter, side) => { letter.textContent = pane.letters?.[side] ?? ""; });
}

function makePane() {
  const figure = document.createElement("figure");
  figure.innerHTML =
    '<figcaption><span class="title"></span><a title="Download this picture">PNG</a><span class="caption"></span></figcaption>' +
    '<div class="frame"><div class="picture"><img>' + '<span class="letter"></span>'.repeat(4) + "</div></div>";
  return figure;
}

function makeScale() {
  const scale = document.createElement("div");
  scale.className = "scale";
  scale.setAttribute("role", "img");
  scale.innerHTML = '<div class="bar"></div><div class="ends"><span class="high"></span><span class="low"></span></div>';
  return scale;
}

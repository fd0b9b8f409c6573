// Thumbnails as toggle buttons with one tab stop: arrow keys, Home and End move between them.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  root.setAttribute("role", "group");
  root.classList.toggle("wrap", Boolean(data.wrap));
  root.classList.toggle("dense", Boolean(data.dense));
  root.setAttribute("aria-label", data.label);
  while (root.children.length > data.items.length) root.lastElementChild.remove();
  data.items.forEach((item, index) => {
    const tile = root.children[index] ?? root.appendChild(makeTile());
    const pressed = item.id === data.selected;
    tile.dataset.id = item.id;
    tile.setAttribute("aria-pressed", String(pressed));
    tile.setAttribute("aria-label", `${item.title}, ${item.detail}`);
    tile.title = `${item.title} · ${item.detail}`;
    tile.querySelector(".title").textContent = item.title;
    tile.querySelector(".detail").textContent = item.detail;
    const picture = tile.querySelector(".picture");
    picture.classList.toggle("waiting", !item.src);
    const image = picture.querySelector("img");
    image.hidden = !item.src;
    if (item.src && image.src !== item.src) image.src = item.src;
    tile.onclick = () => setTriggerValue("picked", item.id);
  });
  const tiles = [...root.children];
  const stop = Math.max(0, tiles.findIndex((tile) => tile.getAttribute("aria-pressed") === "true"));
  if (root.dataset.shown !== String(data.selected)) {
    root.dataset.shown = String(data.selected);
    const { offsetLeft, offsetWidth } = tiles[stop] ?? root;
    if (data.selected !== null) root.scrollLeft = offsetLeft - root.offsetLeft - (root.clientWidth - offsetWidth) / 2;
  }
  tiles.forEach((tile, index) => { tile.tabIndex = index === stop ? 0 : -1; });
  root.onkeydown = (event) => {
    const here = tiles.indexOf(event.target);
    const target = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tiles.length - 1 }[event.key];
    if (here < 0 || target === undefined || !tiles[target]) return;
    event.preventDefault();
    tiles[here].tabIndex = -1;
    tiles[target].tabIndex = 0;
    tiles[target].focus();
  };
}

function makeTile() {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.innerHTML = '<span class="picture"><img alt="" hidden></span><span class="title"></span><span class="detail"></span>';
  return tile;
}

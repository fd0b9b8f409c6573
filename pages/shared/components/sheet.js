// Rows of small pictures; nodes are kept between updates, so that only the changed picture is repainted.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  root.classList.toggle("wrap", data.wrap);
  resize(root, data.rows.length, makeRow);
  data.rows.forEach((row, index) => {
    const section = root.children[index];
    section.querySelector(".heading").textContent = row.heading;
    const items = section.querySelector(".items");
    items.style.setProperty("--columns", row.columns ?? row.items.length);
    resize(items, row.items.length, makeItem);
    row.items.forEach((item, place) => fill(items.children[place], item));
  });
}

function fill(figure, item) {
  const image = figure.querySelector("img");
  image.alt = item.alt;
  if (image.src !== item.src) image.src = item.src;
  if (item.aspect) figure.style.setProperty("--aspect", item.aspect);
  const caption = figure.querySelector("figcaption");
  caption.textContent = item.caption;
  caption.title = item.caption;
}

function resize(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.appendChild(make());
}

function makeRow() {
  const section = document.createElement("section");
  section.innerHTML = '<div class="heading"></div><div class="items"></div>';
  return section;
}

function makeItem() {
  const figure = document.createElement("figure");
  figure.innerHTML = "<img><figcaption></figcaption>";
  return figure;
}

// Runs as rows to pick one from; nodes are kept between updates, so a row only changes where its run did. One tab stop, arrow keys.
const FIELDS = ["state", "name", "psnr", "pace", "left", "device"];

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", data.label);
  while (root.children.length > data.items.length) root.lastElementChild.remove();
  while (root.children.length < data.items.length) root.appendChild(makeRow());
  data.items.forEach((item, index) => {
    const row = root.children[index];
    row.setAttribute("aria-pressed", String(item.id === data.selected));
    row.dataset.id = item.id;
    row.title = item.title;
    FIELDS.forEach((field) => write(row.querySelector(`.${field}`), item[field]));
    const state = row.querySelector(".state");
    state.dataset.mark = item.mark;
    state.dataset.state = item.kind;
    row.querySelector(".bar i").style.width = `${100 * item.share}%`;
    write(row.querySelector(".bar b"), item.progress);
    row.onclick = () => setTriggerValue("picked", item.id);
  });
  const rows = [...root.children];
  const stop = Math.max(0, rows.findIndex((row) => row.dataset.id === data.selected));
  rows.forEach((row, index) => { row.tabIndex = index === stop ? 0 : -1; });
  if (root.dataset.shown !== String(data.selected)) {
    root.dataset.shown = String(data.selected);
    if (rows[stop]) root.scrollTop = rows[stop].offsetTop - root.offsetTop - root.clientHeight / 2;
  }
  root.onkeydown = (event) => {
    const here = rows.indexOf(event.target);
    const target = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (here < 0 || target === undefined || !rows[target]) return;
    event.preventDefault();
    rows[here].tabIndex = -1;
    rows[target].tabIndex = 0;
    rows[target].focus();
  };
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makeRow() {
  const row = document.createElement("button");
  row.type = "button";
  row.innerHTML = '<span class="state"></span><span class="name"></span><span class="bar"><i></i><b></b></span>' +
    '<span class="psnr"></span><span class="pace"></span><span class="left"></span><span class="device"></span>';
  return row;
}

// Two stacked pictures under a range input: dragging, touch and arrow keys come with the input.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const frame = root.querySelector(".frame") ?? root.appendChild(makeFrame());
  frame.style.aspectRatio = String(data.aspect);
  frame.style.setProperty("--aspect", data.aspect);
  frame.classList.toggle("smooth", data.smooth);
  for (const side of ["before", "after"]) {
    const image = frame.querySelector(`.${side}`);
    image.alt = data[side].title;
    if (image.src !== data[side].src) image.src = data[side].src;
  }
  frame.querySelector(".left").textContent = data.before.title;
  frame.querySelector(".right").textContent = data.after.title;
  const input = frame.querySelector("input");
  input.setAttribute("aria-label", `Before and after: ${data.before.title} on the left, ${data.after.title} on the right`);
  const move = () => {
    frame.style.setProperty("--at", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${input.value} % ${data.before.title}`);
  };
  input.oninput = move;
  move();
}

function makeFrame() {
  const frame = document.createElement("div");
  frame.className = "frame";
  frame.innerHTML =
    '<img class="after"><img class="before"><div class="divider"></div><span class="tag left"></span><span class="tag right"></span>' +
    '<input type="range" min="0" max="100" value="50">';
  return frame;
}

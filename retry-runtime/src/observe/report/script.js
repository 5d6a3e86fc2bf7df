// Shows the title of a bar at once, and on a touch screen as well.
const tip = document.getElementById("tip");
function show(event) {
  const bar = event.target.closest ? event.target.closest("g") : null;
  const title = bar && bar.querySelector("title");
  if (title) {
    // The browser would show the title a second time.
    bar.dataset.text = title.textContent;
    title.remove();
  }
  if (!bar || !bar.dataset.text) {
    tip.hidden = true;
    return;
  }
  tip.textContent = bar.dataset.text;
  tip.hidden = false;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 16;
  const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
  tip.style.left = Math.max(left, 8) + "px";
  tip.style.top = Math.max(top, 8) + "px";
}
addEventListener("pointermove", show);
addEventListener("pointerdown", show);
addEventListener("scroll", () => (tip.hidden = true), true);

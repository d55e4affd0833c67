// Inserts the HTML that the server wrote. It keeps the focus, the scroll position and unfolded parts.
const main = document.getElementById("fleet");
const connection = document.getElementById("connection");
const news = document.getElementById("news");

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function age(seconds) {
  const [unit, length] = UNITS.find(([, size]) => seconds >= 2 * size) ?? ["s", 1];
  return `${Math.max(0, Math.round(seconds / length))} ${unit} ago`;
}

function tellAges() {
  for (const time of main.querySelectorAll(".facts time")) {
    time.title ||= time.textContent;
    time.textContent = age((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

function show({ html, said }) {
  const focused = main.contains(document.activeElement) && document.activeElement !== main
    ? document.activeElement.id : "";
  const unfolded = [...main.querySelectorAll("details[open]")].map((one) => one.id);
  const before = new Set([...main.querySelectorAll("tbody tr")].map((row) => row.textContent));
  main.innerHTML = html;
  for (const row of main.querySelectorAll("tbody tr")) {
    if (before.size && !before.has(row.textContent)) row.classList.add("changed");
  }
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (said) news.textContent = said;
  tellAges();
}

const live = new EventSource("/live");
live.onmessage = (event) => { // the first message comes at once, also after a reconnect
  show(JSON.parse(event.data));
  connection.textContent = "live";
  document.body.classList.remove("lost");
};
live.onerror = () => {
  connection.textContent = "the console has stopped: what is shown may be old";
  document.body.classList.add("lost");
};
tellAges();
setInterval(tellAges, 1000);

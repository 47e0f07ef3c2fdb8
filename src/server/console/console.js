// Reading works without this. It adds the reader's own time, asks before something is taken out of use, copies a line,
// and reloads the overview while that is wanted. It keeps nothing, and sends nothing of its own.

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString();
}

for (const button of document.querySelectorAll("button[data-confirm]")) {
  button.addEventListener("click", (event) => {
    if (!window.confirm(button.dataset.confirm)) event.preventDefault();
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const from = document.getElementById(button.dataset.copy);
  if (!from || !navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "Copied";
  });
}

const refresh = document.getElementById("refresh");
if (refresh) {
  const wanted = "#refresh";
  refresh.parentElement.hidden = false;
  refresh.checked = location.hash === wanted;
  refresh.addEventListener("change", () => history.replaceState(null, "", refresh.checked ? wanted : location.pathname));
  setInterval(() => {
    if (refresh.checked && !document.hidden) location.reload();
  }, 10_000);
}

// Reading works without this. It adds the reader's own time, asks before something is taken out of use, copies a line,
// reloads the overview while that is wanted, and counts the rows of an export. It keeps nothing.

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

// An export is read here, so that one sees how far it is, and saved at its end.
for (const form of document.querySelectorAll("form[data-export]")) {
  const told = form.querySelector("output");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!answer.ok || !answer.headers.get("content-disposition")) throw new Error(`It was refused (${answer.status}).`);
      const parts = [];
      let lines = -1;
      for (let reader = answer.body.getReader(), part; !(part = await reader.read()).done; ) {
        parts.push(part.value);
        for (const byte of part.value) lines += byte === 10;
        told.textContent = `${lines} rows`;
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
      link.download = form.dataset.export;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      told.textContent = `${lines} rows, saved`;
    } catch (error) {
      told.textContent = `Not exported. ${error.message} Try again.`;
    } finally {
      button.disabled = false;
    }
  });
}

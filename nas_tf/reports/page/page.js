"use strict";
(() => {
  const { runs, words, trials } = JSON.parse(document.getElementById("data").textContent);
  const RUN = 0, ID = 1, STATE = 2, ACCURACY = 3, ERROR = 4, LATENCY = 5, PARAMS = 6, MADDS = 7, REWARD = 8, NOTE = 9, WHY = 10, STAGES = 11;
  const PER_PAGE = 50;
  const byId = id => document.getElementById(id);
  const digits = (value, count, factor = 1) => value === null ? "-" : (value * factor).toFixed(count);
  const accuracy = row => digits(row[ACCURACY], 1, 100) + (row[ERROR] === null ? "" : " ± " + digits(row[ERROR], 1, 100));
  const latency = row => row[LATENCY] === null ? "-" : row[LATENCY].toPrecision(4);
  const text = row => [row[NOTE], row[WHY]].filter(Boolean).join(": ");
  const element = (name, content, parent) => {
    const made = document.createElement(name);
    if (content !== undefined) made.textContent = content;
    if (parent) parent.append(made);
    return made;
  };

  // The network of a trial, in the box beside the front.
  window.showTrial = (run, id) => {
    const row = trials.find(each => each[RUN] === run && each[ID] === id), box = byId("shown");
    if (!row || !box) return;
    box.replaceChildren();
    element("h3", (runs.length > 1 ? runs[run] + ", " : "") + "trial " + id, box);
    element("p", `${row[STATE]}, ${accuracy(row)} %, ${latency(row)} ms, reward ${digits(row[REWARD], 4)}`, box);
    if (text(row)) element("p", text(row), box);
    const list = element("ol", undefined, box);
    list.className = "stack";
    for (const stage of row[STAGES]) element("li", words[stage], list);
    for (const each of document.querySelectorAll("#table tbody tr"))
      each.classList.toggle("chosen", each.dataset.run === String(run) && each.dataset.id === String(id));
  };

  const body = document.querySelector("#table tbody");
  const searched = trials.map(row => [...row.slice(RUN + 1, ID + 1), row[STATE], text(row), ...row[STAGES].map(i => words[i])].join(" ").toLowerCase());
  let key = ID, rising = true, page = 0;

  const compare = (a, b) => {
    const [x, y] = [a[key], b[key]];
    if (x === null || y === null) return (x === null) - (y === null);  // what is not known comes last, either way
    return (x < y ? -1 : x > y ? 1 : a[ID] - b[ID]) * (rising ? 1 : -1);
  };

  const show = () => {
    const state = byId("state").value, wanted = byId("words").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const found = trials.filter((row, i) => (!state || row[STATE] === state) && wanted.every(word => searched[i].includes(word)));
    found.sort(compare);
    const last = Math.max(0, Math.ceil(found.length / PER_PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    byId("found").textContent = `${found.length} of ${trials.length}`;
    byId("page").textContent = `page ${page + 1} of ${last + 1}`;
    byId("before").disabled = page === 0;
    byId("after").disabled = page === last;
    body.replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(row => {
      const line = element("tr");
      line.dataset.run = row[RUN];
      line.dataset.id = row[ID];
      if (runs.length > 1) element("td", runs[row[RUN]], line);
      const cells = [row[ID], row[STATE], accuracy(row), latency(row), digits(row[PARAMS], 2, 1e-6), digits(row[MADDS], 1, 1e-6), digits(row[REWARD], 4), text(row)];
      for (const cell of cells) element("td", cell, line);
      line.addEventListener("click", () => window.showTrial(row[RUN], row[ID]));
      return line;
    }));
    for (const title of document.querySelectorAll("#table th"))
      title.setAttribute("aria-sort", Number(title.dataset.key) !== key ? "none" : rising ? "ascending" : "descending");
  };

  for (const title of document.querySelectorAll("#table th")) {
    title.tabIndex = 0;
    const sort = () => {
      const asked = Number(title.dataset.key);
      rising = asked === key ? !rising : ![ACCURACY, REWARD].includes(asked);
      [key, page] = [asked, 0];
      show();
    };
    title.addEventListener("click", sort);
    title.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  }
  byId("state").addEventListener("change", () => { page = 0; show(); });
  byId("words").addEventListener("input", () => { page = 0; show(); });
  byId("filters").addEventListener("submit", event => event.preventDefault());
  byId("before").addEventListener("click", () => { page -= 1; show(); });
  byId("after").addEventListener("click", () => { page += 1; show(); });
  show();
})();

"use strict";
// Corrections of labels: kept in the browser, saved as corrections.csv. training.csv never changes.
(() => {
  const HEADER = "row,keypoint,x,y,action,label_x,label_y";
  const KEY = `fkd-corrections-${fkd.summary.run.data}`;
  const UNDONE = `fkd-undone-${fkd.summary.run.data}-${fkd.summary.run.name}`;  // the run's own corrections that were removed
  const corrections = new Map();  // "face:keypoint" → {action, x, y}
  const listeners = [];
  let unsaved = false;

  const name = (face, keypoint) => `${face}:${keypoint}`;
  // Corrections that the run was trained with.
  const own = new Map(fkd.summary.run_corrections.map(one => [name(one.row - 1, one.keypoint), {action: one.action, x: one.x, y: one.y}]));

  function changed() {
    try {
      localStorage.setItem(KEY, JSON.stringify([...corrections]));
      localStorage.setItem(UNDONE, JSON.stringify([...own.keys()].filter(place => !corrections.has(place))));
    } catch { /* The browser stores nothing for files from disk: the page warns before it is left. */ }
    show();
    for (const listener of listeners) listener();
  }

  function show() {
    const counts = {moved: 0, dropped: 0, confirmed: 0};
    for (const one of corrections.values()) counts[one.action]++;
    const total = corrections.size;
    fkd.find("save-bar").hidden = !total;
    fkd.find("save-count").textContent = total
      ? Object.entries(counts).filter(([, count]) => count).map(([action, count]) => `${count} ${action}`).join(", ") + (unsaved ? ", not saved yet" : "")
      : "";
  }

  const store = fkd.corrections = {
    get: (face, keypoint) => corrections.get(name(face, keypoint)),
    set(face, keypoint, action, x, y) {
      const label = fkd.point(fkd.labels, face, keypoint);
      if (!label) return;
      const [lx, ly] = label;
      const clip = value => Math.min(96, Math.max(0, Math.round(value * 100) / 100));
      const value = action === "moved" ? {action, x: clip(x), y: clip(y)} : {action, x: lx, y: ly};
      corrections.set(name(face, keypoint), value);
      unsaved = true;
      changed();
    },
    undo(face, keypoint) {
      if (!corrections.delete(name(face, keypoint))) return;
      unsaved = true;
      changed();
    },
    onChange: listener => listeners.push(listener),
    // The text of corrections.csv, sorted by row and keypoint.
    csv() {
      const lines = [...corrections].map(([place, one]) => {
        const [face, keypoint] = place.split(":").map(Number);
        const [lx, ly] = fkd.point(fkd.labels, face, keypoint);
        const position = one.action === "dropped" ? "," : `${one.x.toFixed(2)},${one.y.toFixed(2)}`;
        return [face, keypoint, `${face + 1},${fkd.summary.keypoints[keypoint]},${position},${one.action},${lx.toFixed(2)},${ly.toFixed(2)}`];
      });
      lines.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      return [HEADER, ...lines.map(line => line[2])].join("\n") + "\n";
    },
    // Adds the corrections of a corrections.csv; throws an Error that names the wrong line.
    read(text) {
      const [head, ...lines] = text.replace(/^\uFEFF/, "").split(/\r?\n/);
      const columns = head.split(",").map(cell => cell.trim());
      const at = column => columns.indexOf(column);
      if (["row", "keypoint", "x", "y"].some(column => at(column) < 0)) throw new Error(`the first line must be ${HEADER}`);
      const found = [];
      lines.forEach((line, i) => {
        if (!line.trim()) return;
        const cells = line.split(",").map(cell => cell.trim());
        const face = Number(cells[at("row")]) - 1, keypoint = fkd.summary.keypoints.indexOf(cells[at("keypoint")]);
        const label = keypoint < 0 || !Number.isInteger(face) || face < 0 || face >= fkd.faces ? null : fkd.point(fkd.labels, face, keypoint);
        if (!label) throw new Error(`line ${i + 2} names no label of this data set`);
        for (const [axis, value] of [["label_x", label[0]], ["label_y", label[1]]]) {
          const given = at(axis) < 0 ? "" : cells[at(axis)];
          if (given && Math.abs(Number(given) - value) > .02) throw new Error(`line ${i + 2} was made for another data set`);
        }
        const [x, y] = [cells[at("x")], cells[at("y")]];
        const action = (at("action") < 0 ? "" : cells[at("action")]) || (x && x !== "dropped" ? "moved" : "dropped");
        if (!["moved", "dropped", "confirmed"].includes(action)) throw new Error(`line ${i + 2} has an unknown action`);
        if (action === "moved" && !(x !== "" && y !== "" && Number(x) >= 0 && Number(x) <= 96 && Number(y) >= 0 && Number(y) <= 96)) {
          throw new Error(`line ${i + 2} must give x and y from 0 to 96`);
        }
        found.push([name(face, keypoint), action === "moved" ? {action, x: Number(x), y: Number(y)} : {action, x: label[0], y: label[1]}]);
      });
      for (const [place, one] of found) corrections.set(place, one);
      changed();
      return found.length;
    },
  };

  function save() {
    const url = URL.createObjectURL(new Blob([store.csv()], {type: "text/csv"}));
    fkd.element("a", {href: url, download: "corrections.csv"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    unsaved = false;
    show();
    fkd.announce("corrections.csv saved. Train with: fkd-kaggle train-ensemble --corrections corrections.csv");
    fkd.find("save-hint").hidden = false;
  }

  // Marks the rows of the table of suspicious labels that are already decided.
  function markRows() {
    for (const row of document.querySelectorAll("#review-table tr[data-face]")) {
      const one = store.get(Number(row.dataset.face), Number(row.dataset.keypoint));
      row.querySelector(".decision").textContent = one ? one.action : "";
    }
  }

  fkd.setUpReview = () => {
    for (const [place, one] of own) corrections.set(place, one);
    try {
      for (const place of JSON.parse(localStorage.getItem(UNDONE) ?? "[]")) corrections.delete(place);
      for (const [place, one] of JSON.parse(localStorage.getItem(KEY) ?? "[]")) corrections.set(place, one);
    } catch { /* A damaged or forbidden store: start without it. */ }
    show();
    markRows();
    store.onChange(markRows);
    fkd.find("save").addEventListener("click", save);
    fkd.find("clear").addEventListener("click", () => {
      if (!confirm(`Remove all ${corrections.size} corrections from this page?`)) return;
      corrections.clear();
      unsaved = false;
      changed();
    });
    fkd.find("load").addEventListener("change", async event => {
      const [file] = event.target.files;
      event.target.value = "";
      if (!file) return;
      try {
        fkd.announce(`${store.read(await file.text())} corrections loaded from ${file.name}`);
      } catch (error) {
        fkd.announce(`${file.name} cannot be loaded: ${error.message}`);
      }
    });
    addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
    const list = () => [...document.querySelectorAll("#review-table tr[data-face]:not([hidden])")]
      .map(row => [Number(row.dataset.face), Number(row.dataset.keypoint)]);
    fkd.find("review-table").addEventListener("click", event => {
      const button = event.target.closest("button[data-open]");
      if (!button) return;
      const row = button.closest("tr");
      const place = [Number(row.dataset.face), Number(row.dataset.keypoint)];
      const all = list();
      fkd.openViewer(...place, fkd.first, all, all.findIndex(one => one[0] === place[0] && one[1] === place[1]));
    });
    fkd.find("review-filter").addEventListener("change", event => {
      for (const row of document.querySelectorAll("#review-table tr[data-face]")) {
        row.hidden = event.target.value !== "all" && row.dataset.verdict !== event.target.value;
      }
    });
    for (const button of document.querySelectorAll("button[data-answer]")) {
      button.addEventListener("click", () => {
        const all = list();
        const place = button.dataset.answer.split(":").map(Number);
        fkd.openViewer(...place, fkd.first, all, all.findIndex(one => one[0] === place[0] && one[1] === place[1]));
      });
    }
  };
})();

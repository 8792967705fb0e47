"use strict";
// The viewer: one face, zoomable, with labels that can be dragged, confirmed and dropped.
(() => {
  const NS = "http://www.w3.org/2000/svg", SIZE = 96, STEP = .25;
  const state = {face: 0, keypoint: -1, predictor: fkd.first, list: [], position: 0, view: [0, 0, SIZE, SIZE]};
  let svg, drag = null, pointers = new Map();

  const make = (name, attributes) => {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };

  fkd.openViewer = (face, keypoint, predictor, list, position) => {
    Object.assign(state, {face, keypoint, predictor, list, position: Math.max(0, position ?? 0), view: [0, 0, SIZE, SIZE]});
    if (keypoint >= 0) zoomTo(keypoint);
    fkd.find("viewer-predictor").value = predictor;
    const dialog = fkd.find("viewer");
    if (!dialog.open) dialog.showModal();
    show().then(() => { if (keypoint >= 0) svg.querySelector(`[data-keypoint="${keypoint}"]`)?.focus(); });
  };

  // Zooms to 1.5 times the size, around a label.
  function zoomTo(keypoint) {
    const at = fkd.point(fkd.labels, state.face, keypoint) ?? fkd.point(fkd.predictions.get(state.predictor), state.face, keypoint);
    if (at) setView(at[0] + .5 - SIZE / 3, at[1] + .5 - SIZE / 3, SIZE / 1.5);
  }

  function setView(x, y, size) {
    size = Math.min(SIZE, Math.max(8, size));
    const limit = value => Math.min(SIZE - size, Math.max(0, value));
    state.view = [limit(x), limit(y), size, size];
    svg?.setAttribute("viewBox", state.view.join(" "));
    if (svg) placeMarks();
  }

  function zoom(factor, center) {
    const [x, y, size] = state.view;
    const [cx, cy] = center ?? [x + size / 2, y + size / 2];
    const next = Math.min(SIZE, Math.max(8, size * factor));
    setView(cx - (cx - x) * next / size, cy - (cy - y) * next / size, next);
  }

  // Position of a label after corrections, and what happened to it.
  function current(keypoint) {
    const label = fkd.point(fkd.labels, state.face, keypoint);
    const fixed = fkd.corrections.get(state.face, keypoint);
    return {label, at: fixed && fixed.action === "moved" ? [fixed.x, fixed.y] : label, action: fixed?.action ?? ""};
  }

  async function show() {
    const dialog = fkd.find("viewer");
    const {face} = state;
    fkd.find("viewer-title").textContent = `Row ${face + 1}, ${fkd.summary.annotators[fkd.annotators[face]]} annotator`;
    fkd.find("viewer-place").textContent = state.list.length > 1 ? `${state.position + 1} of ${state.list.length}` : "";
    fkd.find("viewer-previous").disabled = state.position <= 0;
    fkd.find("viewer-next").disabled = state.position >= state.list.length - 1;
    svg = fkd.find("viewer-face");
    svg.replaceChildren();
    const canvas = fkd.element("canvas", {width: SIZE, height: SIZE});
    await fkd.drawFace(canvas.getContext("2d"), face, SIZE);
    if (face !== state.face || !dialog.open) return;
    const image = make("image", {x: 0, y: 0, width: SIZE, height: SIZE, href: canvas.toDataURL("image/png")});
    svg.replaceChildren(image, make("g", {id: "viewer-marks"}));
    svg.setAttribute("viewBox", state.view.join(" "));
    placeMarks();
    fillPanel();
    showSimilar();
  }

  function symbol(group, shape, [px, py], color, r) {
    const x = px + .5, y = py + .5;
    const path = {
      plus: `M${x - r} ${y}H${x + r}M${x} ${y - r}V${y + r}`,
      cross: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
      circle: `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    }[shape];
    group.append(make("path", {d: path, class: "halo"}), make("path", {d: path, class: "mark", stroke: color}));
  }

  function placeMarks() {
    const group = svg.querySelector("#viewer-marks");
    if (!group) return;
    const focused = document.activeElement?.dataset?.keypoint;
    group.replaceChildren();
    const r = state.view[2] * .013;
    const predictions = fkd.predictions.get(state.predictor);
    const only = fkd.find("viewer-only").checked && state.keypoint >= 0;
    for (let k = 0; k < fkd.POINTS; k++) {
      if (only && k !== state.keypoint) continue;
      const {at, action} = current(k);
      if (!at) continue;
      const prediction = fkd.point(predictions, state.face, k), expected = fkd.point(fkd.expected, state.face, k);
      if (fkd.find("viewer-predictions").checked && prediction) symbol(group, "cross", prediction, fkd.color("prediction"), r);
      if (fkd.find("viewer-expected").checked && expected) symbol(group, "circle", expected, fkd.color("expected"), r);
      const text = `${fkd.words(fkd.summary.keypoints[k])}, label at ${fkd.pixels(at[0])}, ${fkd.pixels(at[1])}${action ? `, ${action}` : ""}`;
      const handle = make("g", {
        class: `handle${k === state.keypoint ? " chosen" : ""}${action === "dropped" ? " dropped" : ""}`,
        tabindex: 0, role: "button", "data-keypoint": k, "aria-label": text,
      });
      handle.append(make("title", {}));
      handle.firstChild.textContent = text;
      handle.append(make("circle", {class: "ring", cx: at[0] + .5, cy: at[1] + .5, r: r * 2.1}));
      symbol(handle, "plus", at, fkd.color("label"), r * 1.2);
      handle.append(make("circle", {class: "hit", cx: at[0] + .5, cy: at[1] + .5, r: r * 2.6}));
      group.append(handle);
    }
    if (focused !== undefined) group.querySelector(`[data-keypoint="${focused}"]`)?.focus();
  }

  function fillPanel() {
    const chosen = state.keypoint >= 0 && current(state.keypoint).label;
    fkd.find("viewer-keypoint").value = state.keypoint;
    for (const id of ["viewer-x", "viewer-y", "viewer-confirm", "viewer-drop", "viewer-undo"]) fkd.find(id).disabled = !chosen;
    const facts = fkd.find("viewer-facts");
    facts.replaceChildren();
    if (!chosen) {
      facts.append(fkd.element("p", {className: "soft", textContent: state.keypoint < 0 ? "Choose a label in the picture or in the list." : "This face has no such label."}));
      return;
    }
    const {label, at, action} = current(state.keypoint);
    fkd.find("viewer-x").value = at[0].toFixed(2);
    fkd.find("viewer-y").value = at[1].toFixed(2);
    fkd.find("viewer-undo").disabled = !action;
    const index = state.face * fkd.POINTS + state.keypoint;
    const prediction = fkd.point(fkd.predictions.get(state.predictor), state.face, state.keypoint);
    const expected = fkd.point(fkd.expected, state.face, state.keypoint);
    const place = point => point ? `${fkd.pixels(point[0])}, ${fkd.pixels(point[1])}` : "–";
    const rows = [
      ["label in training.csv", place(label)],
      ["decision", action || "none"],
      ["prediction", prediction ? `${place(prediction)} (${fkd.pixels(fkd.distance(label, prediction))} px away)` : "none for this face"],
      ["expected from the other labels", expected ? `${place(expected)} (${fkd.pixels(fkd.shape[index], 1)} standard deviations)` : "too few other labels"],
    ];
    if (Number.isFinite(fkd.disagreement[state.face])) rows.push(["flip disagreement of the face", `${fkd.pixels(fkd.disagreement[state.face])} px`]);
    const body = rows.map(([key, value]) => fkd.element("tr", {}, fkd.element("th", {textContent: key, scope: "row"}), fkd.element("td", {textContent: value})));
    facts.append(fkd.element("table", {}, fkd.element("tbody", {}, ...body)));
  }

  function showSimilar() {
    const box = fkd.find("viewer-similar");
    const entry = fkd.summary.review.find(one => one.row === state.face + 1);
    const group = fkd.groups[state.face], rows = entry ? entry.duplicates.map(row => row - 1) : [];
    for (let face = 0; face < fkd.faces && rows.length < 6; face++) {
      if (face !== state.face && fkd.groups[face] === group && !rows.includes(face)) rows.push(face);
    }
    fkd.find("viewer-similar-title").hidden = !rows.length;
    box.replaceChildren(...rows.map(face => fkd.faceButton(face, `row ${face + 1}`, state.keypoint, state.predictor, () => [[face, state.keypoint]], 0)));
  }

  function choose(keypoint) {
    state.keypoint = keypoint;
    placeMarks();
    fillPanel();
  }

  function move(keypoint, x, y) {
    fkd.corrections.set(state.face, keypoint, "moved", x, y);
    placeMarks();
    fillPanel();
  }

  // Moves the label to the position in the fields; restores the fields if one is empty or no number.
  function moveToFields() {
    const [x, y] = ["viewer-x", "viewer-y"].map(id => fkd.find(id).valueAsNumber);
    if (Number.isFinite(x) && Number.isFinite(y)) move(state.keypoint, x, y); else fillPanel();
  }

  function act(action) {
    if (state.keypoint < 0 || !current(state.keypoint).label) return;
    if (action === "undo") fkd.corrections.undo(state.face, state.keypoint);
    else fkd.corrections.set(state.face, state.keypoint, action);
    placeMarks();
    fillPanel();
    fkd.announce(`${fkd.words(fkd.summary.keypoints[state.keypoint])} of row ${state.face + 1}: ${action === "undo" ? "decision removed" : action}`);
  }

  function go(by) {
    const position = state.position + by;
    if (position < 0 || position >= state.list.length) return;
    fkd.openViewer(...state.list[position], state.predictor, state.list, position);
  }

  function toFace(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }

  function pointerDown(event) {
    svg.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const handle = event.target.closest?.(".handle");
    if (pointers.size === 2) { drag = {pinch: pinchWidth(), size: state.view[2], center: toFace(event)}; return; }
    if (handle) {
      const keypoint = Number(handle.dataset.keypoint);
      choose(keypoint);
      svg.querySelector(`[data-keypoint="${keypoint}"]`)?.focus();
      const {at} = current(keypoint), [x, y] = toFace(event);
      drag = {keypoint, offset: [at[0] - x, at[1] - y], start: [event.clientX, event.clientY], moved: false};
    } else {
      drag = {pan: toFace(event)};
    }
    event.preventDefault();
  }

  const pinchWidth = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };

  function pointerMove(event) {
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (!drag) return;
    const [x, y] = toFace(event);
    if (drag.pinch) {
      if (pointers.size === 2) zoom(drag.size * drag.pinch / pinchWidth() / state.view[2], drag.center);
    } else if (drag.pan) {
      setView(state.view[0] + drag.pan[0] - x, state.view[1] + drag.pan[1] - y, state.view[2]);
    } else {
      // Three pixels of tolerance, so that a click moves nothing.
      drag.moved ||= Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) > 3;
      if (drag.moved) move(drag.keypoint, x + drag.offset[0], y + drag.offset[1]);
    }
  }

  function pointerUp(event) {
    pointers.delete(event.pointerId);
    if (!pointers.size) drag = null;
  }

  function keyDown(event) {
    if (["INPUT", "SELECT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const actions = {c: () => act("confirmed"), d: () => act("dropped"), Delete: () => act("dropped"), u: () => act("undo"),
      n: () => go(1), PageDown: () => go(1), p: () => go(-1), PageUp: () => go(-1),
      "+": () => zoom(.7), "=": () => zoom(.7), "-": () => zoom(1.4), 0: () => setView(0, 0, SIZE)};
    const handle = event.target.closest?.(".handle");
    if (handle && arrows[event.key]) {
      const keypoint = Number(handle.dataset.keypoint), {at} = current(keypoint), [dx, dy] = arrows[event.key];
      const step = event.shiftKey ? 4 * STEP : STEP;
      state.keypoint = keypoint;
      move(keypoint, at[0] + dx * step, at[1] + dy * step);
    } else if (handle && event.key === "Enter") {
      choose(Number(handle.dataset.keypoint));
    } else if (actions[event.key]) {
      if (handle) state.keypoint = Number(handle.dataset.keypoint);
      actions[event.key]();
    } else return;
    event.preventDefault();
  }

  fkd.setUpViewer = () => {
    svg = fkd.find("viewer-face");
    svg.addEventListener("pointerdown", pointerDown);
    svg.addEventListener("pointermove", pointerMove);
    for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, pointerUp);
    svg.addEventListener("wheel", event => { event.preventDefault(); zoom(event.deltaY < 0 ? .85 : 1.18, toFace(event)); }, {passive: false});
    // On the document: drawing the next face removes the focused label, and the focus with it.
    document.addEventListener("keydown", event => { if (fkd.find("viewer").open) keyDown(event); });
    fkd.find("viewer").addEventListener("close", () => { pointers.clear(); drag = null; });
    const on = (id, action, event = "click") => fkd.find(id).addEventListener(event, action);
    on("viewer-close", () => fkd.find("viewer").close());
    on("viewer-previous", () => go(-1));
    on("viewer-next", () => go(1));
    on("viewer-confirm", () => act("confirmed"));
    on("viewer-drop", () => act("dropped"));
    on("viewer-undo", () => act("undo"));
    on("viewer-in", () => zoom(.7));
    on("viewer-out", () => zoom(1.4));
    on("viewer-fit", () => setView(0, 0, SIZE));
    for (const id of ["viewer-only", "viewer-predictions", "viewer-expected"]) on(id, placeMarks, "change");
    on("viewer-keypoint", event => choose(Number(event.target.value)), "change");
    on("viewer-predictor", event => { state.predictor = event.target.value; show(); }, "change");
    for (const id of ["viewer-x", "viewer-y"]) on(id, moveToFields, "change");
    fkd.corrections.onChange(() => { if (fkd.find("viewer").open) fillPanel(); });
  };
})();

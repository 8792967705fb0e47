"use strict";
// Faces: images out of the sheets, thumbnails with marks, and the faces behind a selection.
(() => {
  const SIDE = 16, SIZE = 96, PAGE = 24;
  const sheets = new Map();

  // Returns the decoded sheet of a face; a sheet is decoded when it is first needed.
  function sheet(number) {
    if (!sheets.has(number)) {
      const text = fkd.find(`sheet-${number}`)?.textContent;
      sheets.set(number, text ? new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.onerror = reject;
        image.src = `data:image/webp;base64,${text.trim()}`;
      }) : Promise.resolve(null));
    }
    return sheets.get(number);
  }

  // Draws a face without marks into a square of a canvas' context.
  fkd.drawFace = async (context, face, size) => {
    const image = await sheet(Math.floor(face / (SIDE * SIDE)));
    if (!image) return;
    const place = face % (SIDE * SIDE);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, place % SIDE * SIZE, Math.floor(place / SIDE) * SIZE, SIZE, SIZE, 0, 0, size, size);
  };

  function mark(context, shape, point, color, scale) {
    if (!point) return;
    // The centre of the top left pixel is (0, 0).
    const x = (point[0] + .5) * scale, y = (point[1] + .5) * scale, r = 6;
    for (const [style, width] of [["#000b", 5.5], [color, 3]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      if (shape === "plus") { context.moveTo(x - r, y); context.lineTo(x + r, y); context.moveTo(x, y - r); context.lineTo(x, y + r); }
      if (shape === "cross") { context.moveTo(x - r, y - r); context.lineTo(x + r, y + r); context.moveTo(x - r, y + r); context.lineTo(x + r, y - r); }
      if (shape === "circle") context.arc(x, y, r, 0, 7);
      context.stroke();
    }
  }

  // Draws a face with its label and prediction into a canvas; one keypoint or all (-1).
  fkd.thumbnail = async (canvas, face, keypoint, predictor) => {
    const size = 192;
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    await fkd.drawFace(context, face, size);
    const predictions = fkd.predictions.get(predictor);
    for (let k = 0; k < fkd.POINTS; k++) {
      if (keypoint >= 0 && k !== keypoint) continue;
      mark(context, "cross", fkd.point(predictions, face, k), fkd.color("prediction"), size / SIZE);
      const fixed = fkd.corrections?.get(face, k);
      mark(context, "plus", fixed ? fixed.action === "dropped" ? null : [fixed.x, fixed.y] : fkd.point(fkd.labels, face, k),
        fkd.color("label"), size / SIZE);
    }
  };

  // Error of a face: distance of one keypoint, or RMSE per coordinate of all of them.
  fkd.faceError = (face, keypoint, predictor) => {
    const predictions = fkd.predictions.get(predictor);
    if (keypoint >= 0) return fkd.distance(fkd.point(fkd.labels, face, keypoint), fkd.point(predictions, face, keypoint));
    let sum = 0, count = 0;
    for (let i = face * fkd.POINTS * 2, end = i + fkd.POINTS * 2; i < end; i++) {
      const difference = predictions[i] - fkd.labels[i];
      if (Number.isFinite(difference)) { sum += difference * difference; count++; }
    }
    return count ? Math.sqrt(sum / count) : NaN;
  };

  const selection = fkd.selection = {
    predictor: fkd.first, keypoint: -1, annotator: -1, low: 0, high: Infinity, order: "largest", faces: [], errors: null, shown: PAGE,
  };

  // Computes the errors of all faces for the chosen predictor, keypoint and annotator.
  fkd.selectionErrors = () => {
    const errors = [];
    for (let face = 0; face < fkd.faces; face++) {
      if (selection.annotator >= 0 && fkd.annotators[face] !== selection.annotator) continue;
      const error = fkd.faceError(face, selection.keypoint, selection.predictor);
      if (Number.isFinite(error)) errors.push([face, error]);
    }
    return errors;
  };

  fkd.select = changes => {
    Object.assign(selection, changes);
    if (["predictor", "keypoint", "annotator"].some(key => key in changes)) {
      selection.errors = null;
      if (!("low" in changes)) Object.assign(selection, {low: 0, high: Infinity});
    }
    selection.errors ??= fkd.selectionErrors();
    selection.shown = PAGE;
    const chosen = selection.errors.filter(([, error]) => error >= selection.low && error <= selection.high);
    chosen.sort((a, b) => selection.order === "row" ? a[0] - b[0] : selection.order === "largest" ? b[1] - a[1] : a[1] - b[1]);
    selection.faces = chosen;
    show();
    if (!("low" in changes) || changes.redraw) fkd.redraw("histogram");
    syncControls();
  };

  function syncControls() {
    fkd.find("select-predictor").value = selection.predictor;
    fkd.find("select-keypoint").value = selection.keypoint;
    fkd.find("select-annotator").value = selection.annotator;
    fkd.find("select-low").value = selection.low ? selection.low.toFixed(2) : "";
    fkd.find("select-high").value = Number.isFinite(selection.high) ? selection.high.toFixed(2) : "";
  }

  function describe() {
    const what = selection.keypoint < 0 ? "RMSE" : `${fkd.words(fkd.summary.keypoints[selection.keypoint])}: distance`;
    const low = selection.low || Number.isFinite(selection.high)
      ? ` from ${fkd.pixels(selection.low)} to ${Number.isFinite(selection.high) ? fkd.pixels(selection.high) : "any number of"} px` : "";
    return `${selection.faces.length.toLocaleString("en")} faces, ${what}${low}`;
  }

  function show() {
    const list = fkd.find("faces-list");
    list.replaceChildren();
    add(list, 0, selection.shown);
    fkd.find("faces-count").textContent = describe();
    more();
  }

  function more() {
    const button = fkd.find("faces-more");
    const left = selection.faces.length - selection.shown;
    button.hidden = left <= 0;
    button.textContent = `Show ${Math.min(left, PAGE)} more of ${left.toLocaleString("en")}`;
  }

  function add(list, from, to) {
    selection.faces.slice(from, to).forEach(([face, error], i) => {
      list.append(fkd.element("li", {}, fkd.faceButton(face, `row ${face + 1}: ${fkd.pixels(error, 1)} px`, selection.keypoint,
        selection.predictor, () => selection.faces.map(([one]) => [one, selection.keypoint]), from + i)));
    });
  }

  // A button that shows a face and opens it in the viewer; list() returns the faces to go through.
  fkd.faceButton = (face, caption, keypoint, predictor, list, position) => {
    const canvas = fkd.element("canvas", {width: 192, height: 192});
    canvas.setAttribute("aria-hidden", "true");
    const button = fkd.element("button", {type: "button"}, canvas, fkd.element("span", {textContent: caption}));
    button.setAttribute("aria-label", `Open ${caption}`);
    button.addEventListener("click", () => fkd.openViewer(face, keypoint, predictor, list(), position));
    fkd.thumbnail(canvas, face, keypoint, predictor);
    return button;
  };

  fkd.setUpFaces = () => {
    const number = id => Number(fkd.find(id).value);
    fkd.find("select-predictor").addEventListener("change", event => fkd.select({predictor: event.target.value}));
    fkd.find("select-keypoint").addEventListener("change", () => fkd.select({keypoint: number("select-keypoint")}));
    fkd.find("select-annotator").addEventListener("change", () => fkd.select({annotator: number("select-annotator")}));
    fkd.find("select-order").addEventListener("change", event => fkd.select({order: event.target.value, low: selection.low, high: selection.high}));
    for (const id of ["select-low", "select-high"]) {
      fkd.find(id).addEventListener("change", () => fkd.select({
        low: number("select-low"), high: fkd.find("select-high").value === "" ? Infinity : number("select-high"), redraw: true,
      }));
    }
    fkd.find("select-reset").addEventListener("click", () => fkd.select({keypoint: -1, annotator: -1, low: 0, high: Infinity, redraw: true}));
    fkd.find("faces-more").addEventListener("click", () => {
      const from = selection.shown;
      selection.shown += PAGE;
      add(fkd.find("faces-list"), from, selection.shown);
      more();
      fkd.find("faces-list").children[from]?.querySelector("button").focus();
    });
  };
})();

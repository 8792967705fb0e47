"use strict";
// Data of the page: the JSON value, and arrays that are decoded when they are needed.
const fkd = {};

(() => {
  const MISSING = -32768;
  const summary = JSON.parse(document.getElementById("summary-data").textContent);
  const arrays = JSON.parse(document.getElementById("array-data").textContent);
  const POINTS = summary.keypoints.length;

  function bytes(text) {
    const binary = atob(text);
    const result = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) result[i] = binary.charCodeAt(i);
    return result;
  }

  // Returns a Float32Array with NaN for missing values.
  async function unpack(packed) {
    const stream = new Blob([bytes(packed.data)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = planes.length / 2;
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const step = ((planes[i] | (planes[count + i] << 8)) << 16) >> 16;
      values[i] = step === MISSING ? NaN : step * packed.step;
    }
    return values;
  }

  async function load() {
    const names = Object.keys(arrays.plain);
    const plain = await Promise.all(names.map(name => unpack(arrays.plain[name])));
    names.forEach((name, i) => { fkd[name] = plain[i]; });
    fkd.predictions = new Map();
    for (const one of arrays.predictors) {
      const values = await unpack(one);
      if (one.relative) {
        const base = fkd.predictions.get(one.relative);
        for (let i = 0; i < values.length; i++) values[i] += Number.isFinite(base[i]) ? base[i] : 0;
      }
      fkd.predictions.set(one.name, values);
    }
    fkd.faces = fkd.annotators.length;
  }

  Object.assign(fkd, {
    summary, POINTS, load,
    // Name of the run's own prediction: "blend", or the run's name if several runs are compared.
    first: arrays.predictors[0].name,
    // Words for a keypoint, an annotator, a number.
    words: name => name.replaceAll("_", " "),
    pixels: (value, digits = 2) => Number.isFinite(value) ? value.toFixed(digits) : "–",
    // [x, y] of a point in an array of (N, 15, 2), or null.
    point(values, face, keypoint) {
      const at = (face * POINTS + keypoint) * 2;
      return values && Number.isFinite(values[at]) ? [values[at], values[at + 1]] : null;
    },
    distance: (a, b) => a && b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : NaN,
    // Creates an element; text is never markup.
    element(name, properties = {}, ...children) {
      const node = document.createElement(name);
      for (const [key, value] of Object.entries(properties)) {
        if (key in node) node[key] = value; else node.setAttribute(key, value);
      }
      node.append(...children);
      return node;
    },
    find: id => document.getElementById(id),
    announce(text) { fkd.find("announcement").textContent = text; },
  });
})();

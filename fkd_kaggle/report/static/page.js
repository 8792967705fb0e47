"use strict";
// The run's page: the charts of its sections, and the start.
(() => {
  const {summary} = fkd;
  const point = {filled: true, size: 70};

  // The keypoint in whose row of the chart an event lies.
  function rowAt(view, event) {
    const scale = view.scale("y"), top = view.container().querySelector("svg").getBoundingClientRect().top;
    const y = event.clientY - top - view.padding().top - view.origin()[1];
    return summary.keypoints.find(one => {
      const start = scale(fkd.words(one));
      return start !== undefined && y >= start && y < start + scale.bandwidth();
    });
  }

  function keypointChart() {
    const predictor = () => fkd.selection.predictor;
    const values = () => summary.errors.filter(one => one.predictor === predictor()).map(one => ({
      ...one, name: fkd.words(one.keypoint), rmse: one.value,
      note: `${fkd.words(one.keypoint)}, ${one.annotator}: ${fkd.pixels(one.value, 3)} px (${fkd.pixels(one.low, 3)} to ${fkd.pixels(one.high, 3)}), ${one.labels} labels`,
    }));
    fkd.chart("keypoints", {
      columns: ["keypoint", "annotator", "RMSE", "95 % from", "to", "labels"],
      rows: () => values().map(one => [one.name, one.annotator, one.value, one.low, one.high, String(one.labels)]),
      spec: () => ({
        description: "RMSE of each keypoint by annotator with 95 % intervals. Select a keypoint in the list below to see its faces.",
        height: {step: 26, for: "position"}, data: {values: values()},
        encoding: {
          y: {field: "name", type: "nominal", title: null, sort: {field: "rmse", op: "max", order: "descending"}},
          yOffset: {field: "annotator"}, color: {field: "annotator", type: "nominal"}, tooltip: {field: "note"},
        },
        layer: [
          {mark: {type: "rule", strokeWidth: 2}, encoding: {x: {field: "low", type: "quantitative", title: "RMSE, px", scale: {zero: false}}, x2: {field: "high"}}},
          {mark: {type: "point", ...point}, encoding: {x: {field: "rmse", type: "quantitative"}}},
        ],
      }),
      ready: view => view.addEventListener("click", (event, item) => {
        // A line or a point has a keypoint and an annotator, its row and its name only a keypoint.
        const keypoint = item?.datum?.keypoint ?? rowAt(view, event);
        if (!keypoint) return;
        fkd.select({keypoint: summary.keypoints.indexOf(keypoint), annotator: summary.annotators.indexOf(item?.datum?.annotator), redraw: true});
        fkd.find("faces").scrollIntoView();
      }),
    });
  }

  function histogram() {
    const BINS = 40;
    const bins = () => {
      const errors = fkd.selection.errors.map(one => one[1]).sort((a, b) => a - b);
      if (!errors.length) return [];
      // The last bar holds the largest half per cent.
      const top = Math.max(errors[Math.floor(errors.length * .995)], .1), width = top / BINS;
      const counts = new Array(BINS).fill(0);
      for (const error of errors) counts[Math.min(BINS - 1, Math.floor(error / width))]++;
      return counts.map((count, i) => ({from: i * width, to: (i + 1) * width, count,
        note: `${(i * width).toFixed(2)} px ${i === BINS - 1 ? "and more" : `to ${((i + 1) * width).toFixed(2)} px`}: ${count} faces`}));
    };
    fkd.chart("histogram", {
      columns: ["from px", "to px", "faces"], rows: () => bins().map(one => [one.from, one.to, String(one.count)]),
      spec: () => ({
        description: "Number of faces by error. Drag over a range, or enter it below, to see its faces.",
        height: 150, data: {values: bins()},
        params: [{name: "range", select: {type: "interval", encodings: ["x"]}}],
        mark: {type: "bar", color: fkd.color("one"), cursor: "crosshair"},
        encoding: {
          x: {field: "from", type: "quantitative", bin: {binned: true}, title: fkd.selection.keypoint < 0 ? "RMSE of the face, px" : "distance, px"}, x2: {field: "to"},
          y: {field: "count", type: "quantitative", title: "faces"}, tooltip: {field: "note"},
          opacity: {condition: {param: "range", value: 1}, value: .45},
        },
      }),
      ready: view => {
        let timer;
        view.addSignalListener("range_x", () => {
          clearTimeout(timer);
          timer = setTimeout(() => {
            const [a, b] = [...(view.data("range_store")[0]?.values[0] ?? [0, Infinity])].sort((one, other) => one - other);
            const last = bins().at(-1);
            fkd.select({low: a, high: last && b >= last.to - 1e-9 ? Infinity : b});
          }, 150);
        });
      },
    });
  }

  function curves() {
    const values = () => {
      const seconds = fkd.find("curves-axis").value === "seconds", key = fkd.find("curves-value").value;
      return summary.curves.filter(one => one[key] !== null).map(one => ({...one, x: seconds ? one.seconds / 60 : one.epoch, y: one[key]}));
    };
    fkd.chart("curves-chart", {
      columns: ["network", "epoch", "minutes", "loss", "RMSE"],
      rows: () => summary.curves.map(one => [one.member, String(one.epoch), one.seconds / 60, one.loss, one.rmse]),
      spec: () => ({
        description: "Learning curves: a line for each network, a colour for each recipe.",
        height: 300, data: {values: values()}, mark: {type: "line", point: {size: 22, filled: true}, strokeWidth: 1.5},
        encoding: {
          x: {field: "x", type: "quantitative", title: fkd.find("curves-axis").value === "seconds" ? "minutes of training" : "epoch"},
          y: {field: "y", type: "quantitative", title: fkd.find("curves-value").selectedOptions[0].textContent, scale: {type: "log", nice: false}, axis: {format: "~g"}},
          color: {field: "recipe", type: "nominal"}, detail: {field: "member"},
          tooltip: [{field: "member", title: "network"}, {field: "epoch"}, {field: "y", title: "value", format: ".3f"}],
        },
      }),
    });
    for (const id of ["curves-axis", "curves-value"]) fkd.find(id)?.addEventListener("change", () => fkd.redraw("curves-chart"));
  }

  function calibration() {
    summary.calibration.forEach((one, index) => fkd.chart(`calibration-${index}`, {
      columns: ["from px", "to px", "faces", "RMSE", "95 % from", "to"],
      rows: () => one.bins.map(bin => [bin.smallest, bin.largest, String(bin.faces), bin.rmse, bin.low, bin.high]),
      spec: () => ({
        description: `RMSE of tenths of the faces by ${one.signal}.`, height: 220,
        data: {values: one.bins.map(bin => ({...bin, note: `${one.signal} ${fkd.pixels(bin.smallest)} to ${fkd.pixels(bin.largest)} px: RMSE ${fkd.pixels(bin.rmse, 3)} px, ${bin.faces} faces`}))},
        encoding: {x: {field: "signal", type: "quantitative", title: `${one.signal}, px`}, tooltip: {field: "note"}, color: {value: fkd.color("one")}},
        layer: [
          {mark: {type: "rule", strokeWidth: 2}, encoding: {y: {field: "low", type: "quantitative", title: "RMSE, px", scale: {zero: true}}, y2: {field: "high"}}},
          {mark: {type: "line"}, encoding: {y: {field: "rmse", type: "quantitative"}}},
          {mark: {type: "point", ...point}, encoding: {y: {field: "rmse", type: "quantitative"}}},
        ],
      }),
    }));
  }

  function members() {
    const changes = summary.value.recipes.filter(one => one.change !== null).map(one => ({name: one.recipe, change: one.change}));
    const networks = summary.value.networks.map(one => ({name: one.member, change: one.change}));
    const bars = (values, title) => () => ({
      description: title.join(" "), height: {step: 20}, data: {values}, mark: {type: "bar"},
      encoding: {
        y: {field: "name", type: "nominal", title: null, sort: "-x"},
        x: {field: "change", type: "quantitative", title},
        color: {condition: {test: "datum.change > 0", value: fkd.color("one")}, value: fkd.color("two")},
        tooltip: [{field: "name"}, {field: "change", format: "+.4f"}],
      },
    });
    if (changes.length) fkd.chart("value-recipes", {spec: bars(changes, ["change of the cross-validated", "score without it, px"]), columns: ["recipe", "change"], rows: () => changes.map(one => [one.name, one.change])});
    if (networks.length) fkd.chart("value-networks", {spec: bars(networks, ["change of the expected", "score without it, px"]), columns: ["network", "change"], rows: () => networks.map(one => [one.name, one.change])});
    const weights = summary.value.weights;
    const several = new Set(weights.map(one => one.recipe)).size > 1;
    if (several) {
      fkd.chart("weights", {
        columns: ["annotator", "keypoint", "recipe", "weight"], rows: () => weights.map(one => [one.annotator, fkd.words(one.keypoint), one.recipe, one.weight]),
        spec: () => ({
          description: "Blend weight of each recipe by keypoint and annotator.",
          data: {values: weights.map(one => ({...one, name: `${fkd.words(one.keypoint)} (${one.annotator})`}))}, height: {step: 18},
          mark: {type: "rect"},
          encoding: {
            y: {field: "name", type: "nominal", title: null, sort: null, axis: {labelLimit: fkd.narrow() ? 150 : 260}}, x: {field: "recipe", type: "nominal", title: null, axis: {labelAngle: -30, orient: "top"}},
            color: {field: "weight", type: "quantitative", scale: {scheme: "blues", domain: [0, 1]}, legend: {orient: "bottom", title: "weight"}},
            tooltip: [{field: "name"}, {field: "recipe"}, {field: "weight", format: ".3f"}],
          },
        }),
      });
    }
  }

  function comparisons() {
    summary.comparisons.forEach((one, index) => fkd.chart(`comparison-${index}`, {
      columns: ["keypoint", "annotator", "difference", "95 % from", "to"],
      rows: () => one.keypoints.map(entry => [fkd.words(entry.keypoint), entry.annotator, entry.value, entry.low, entry.high]),
      spec: () => ({
        description: `Difference of the RMSE by keypoint: ${one.one} minus ${one.other}.`,
        height: {step: 24, for: "position"}, data: {values: one.keypoints.map(entry => ({...entry, name: fkd.words(entry.keypoint)}))},
        encoding: {
          y: {field: "name", type: "nominal", title: null, sort: null}, yOffset: {field: "annotator"}, color: {field: "annotator", type: "nominal"},
          tooltip: [{field: "name"}, {field: "annotator"}, {field: "value", title: "difference", format: "+.3f"}, {field: "low", format: "+.3f"}, {field: "high", format: "+.3f"}],
        },
        layer: [
          {mark: {type: "rule", strokeWidth: 2}, encoding: {x: {field: "low", type: "quantitative", title: [`RMSE of ${one.one} minus ${one.other}, px:`, "below 0 the first is better"]}, x2: {field: "high"}}},
          {mark: {type: "point", ...point}, encoding: {x: {field: "value", type: "quantitative"}}},
          {mark: {type: "rule", strokeDash: [4, 3]}, encoding: {x: {datum: 0}, y: {value: 0}, y2: {value: "height"}, yOffset: {value: 0}, color: {value: fkd.color("soft")}}},
        ],
      }),
    }));
  }

  function theme() {
    const button = fkd.find("theme");
    const dark = () => document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    button.addEventListener("click", () => fkd.setTheme(dark() ? "light" : "dark"));
  }

  async function start() {
    theme();
    if (!("DecompressionStream" in window)) {
      fkd.announce("This browser is too old for faces and charts (Chrome 80, Firefox 113 and Safari 16.4 are not).");
      return;
    }
    await fkd.load();
    fkd.setUpFaces();
    fkd.setUpReview();
    fkd.setUpViewer();
    fkd.find("select-predictor").addEventListener("change", () => fkd.redraw("keypoints"));
    const worst = summary.errors.length ? fkd.find("content").dataset.worst : "";
    fkd.select({keypoint: summary.keypoints.indexOf(worst)});
    keypointChart(); histogram(); curves(); calibration(); members(); comparisons();
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  start().catch(error => { fkd.announce(`The page cannot show its data: ${error.message}`); throw error; });
})();

"use strict";
// Charts by Vega-Lite. A chart is drawn when it comes near the window, and again for another theme.
(() => {
  const charts = new Map();  // element → {spec, ready, refill, view}

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function config() {
    const text = color("text"), soft = color("soft"), line = color("line");
    return {
      background: "transparent", font: "system-ui, sans-serif",
      view: {stroke: null},
      axis: {labelColor: text, titleColor: soft, gridColor: line, domainColor: line, tickColor: line,
             labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 150},
      legend: {labelColor: text, titleColor: soft, orient: "top", labelFontSize: 12, title: null,
               symbolLimit: 60, labelLimit: 220, columns: fkd.narrow() ? 2 : 5},
      header: {labelColor: text, titleColor: soft},
      title: {color: text, fontSize: 13, anchor: "start"},
      range: {category: [color("one"), color("two"), "#2f9e6e", "#a44ccf", "#d6336c", "#868e96", "#0c8599", "#e67700"],
              heatmap: {scheme: "blues"}},
      text: {color: text}, rule: {color: soft},
    };
  }

  // Vega-Lite warns of sizes that it adjusts; only errors matter here.
  const logger = {level: () => logger, error: (...texts) => console.error(...texts), warn: () => logger, info: () => logger, debug: () => logger};

  async function draw(element) {
    const chart = charts.get(element);
    chart.view?.finalize();
    const spec = {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width: "container", autosize: {type: "fit-x", contains: "padding"}, config: config(), ...chart.spec(),
    };
    const compiled = vegaLite.compile(spec, {logger}).spec;
    // The renderer svg puts roles and labels into the document, for screen readers.
    const view = new vega.View(vega.parse(compiled), {renderer: "svg", container: element, hover: true, logLevel: vega.Error});
    view.tooltip(tooltip);
    chart.view = view;
    chart.ready?.(view);
    await view.runAsync();
  }

  function tooltip(handler, event, item, value) {
    const box = fkd.find("tooltip");
    if (value === null || value === undefined || value === "") { box.hidden = true; return; }
    const lines = typeof value === "object" ? Object.entries(value).map(([k, v]) => `${k}: ${v}`) : [String(value)];
    box.replaceChildren(...lines.map(line => fkd.element("div", {textContent: line})));
    box.hidden = false;
    const left = Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8);
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.min(event.clientY + 12, innerHeight - box.offsetHeight - 8)}px`;
  }

  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (entry.isIntersecting) { observer.unobserve(entry.target); draw(entry.target); }
    }
  }, {rootMargin: "300px"});

  // Registers a chart: spec() returns a specification, rows() the same numbers for a table.
  fkd.chart = (id, {spec, columns, rows, ready}) => {
    const element = fkd.find(id);
    if (!element) return;
    const refill = columns && addTable(element, columns, rows);
    charts.set(element, {spec, ready, refill});
    observer.observe(element);
  };

  // Draws a chart again whose data has changed, and fills its table again.
  fkd.redraw = id => {
    const element = fkd.find(id), chart = charts.get(element);
    chart?.refill?.();
    if (chart?.view) draw(element);
  };

  // Adds a table that is filled when it is opened; returns a function that fills it again if it is open.
  function addTable(element, columns, rows) {
    const details = fkd.element("details", {}, fkd.element("summary", {textContent: "The same as a table"}));
    const fill = () => {
      if (!details.open) return;
      details.querySelector(".table")?.remove();
      const numeric = value => typeof value === "number";
      const cell = value => fkd.element("td", {
        textContent: value === null || value === undefined ? "–" : numeric(value) ? fkd.pixels(value, 3) : value,
        className: numeric(value) ? "number" : "",
      });
      const head = fkd.element("tr", {}, ...columns.map(name => fkd.element("th", {textContent: name, scope: "col"})));
      const body = rows().map(row => fkd.element("tr", {}, ...row.map(cell)));
      details.append(fkd.element("div", {className: "table", tabIndex: 0, role: "region", "aria-label": "Table of the chart"},
        fkd.element("table", {}, fkd.element("thead", {}, head), fkd.element("tbody", {}, ...body))));
    };
    details.addEventListener("toggle", fill);
    element.after(details);
    return fill;
  }

  fkd.narrow = () => innerWidth < 560;
  fkd.color = color;

  fkd.setTheme = theme => {
    if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
    for (const [element, chart] of charts) if (chart.view) draw(element);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => fkd.setTheme(document.documentElement.dataset.theme));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(fkd.resizing);
    fkd.resizing = setTimeout(() => fkd.setTheme(document.documentElement.dataset.theme), 200);
  });
})();

"use strict";
// The page of a training under way: asks for data.json every three seconds.
(() => {
  const find = id => document.getElementById(id);
  const number = (value, digits) => Number.isFinite(value) ? value.toFixed(digits) : "–";
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  let drawn = "", view = null;

  function cell(text, isNumber) {
    const node = document.createElement("td");
    node.textContent = text;
    if (isNumber) node.className = "number";
    return node;
  }

  function showMembers(members) {
    find("members").replaceChildren(...members.map(one => {
      const row = document.createElement("tr");
      row.append(cell(one.name), cell(one.state), cell(`${number(one.epoch, 1)} of ${one.epochs}`, true), cell(number(one.best, 3), true),
        cell(number(one.rmse, 3), true), cell(one.left ? `${Math.ceil(one.left)} s` : "–", true));
      return row;
    }));
  }

  async function showCurves(curves) {
    const axis = find("axis").value, key = `${axis} ${curves.length} ${color("text")}`;
    if (key === drawn) return;
    drawn = key;
    const text = color("text"), line = color("line");
    const values = curves.filter(one => one.rmse !== null).map(one => ({...one, x: axis === "seconds" ? one.seconds / 60 : one.epoch}));
    const spec = {
      width: "container", height: 300, autosize: {type: "fit-x", contains: "padding"}, data: {values}, background: "transparent",
      description: "RMSE on held-out faces of each network during training.",
      config: {view: {stroke: null}, axis: {labelColor: text, titleColor: text, gridColor: line, domainColor: line, tickColor: line}, legend: {labelColor: text, titleColor: text, orient: "top", title: null}},
      mark: {type: "line", point: true, strokeWidth: 1.5},
      encoding: {
        x: {field: "x", type: "quantitative", title: axis === "seconds" ? "minutes of training" : "epoch"},
        y: {field: "rmse", type: "quantitative", title: "RMSE on held-out faces, px", scale: {type: "log", nice: false}, axis: {format: "~g"}},
        color: {field: "recipe", type: "nominal"}, detail: {field: "member"},
      },
    };
    view?.finalize();
    view = new vega.View(vega.parse(vegaLite.compile(spec).spec), {renderer: "svg", container: find("curves"), logLevel: vega.Error});
    await view.runAsync();
  }

  async function update() {
    try {
      const data = await (await fetch("data.json")).json();
      const done = data.members.filter(one => ["finished", "early stopping", "time limit"].includes(one.state)).length;
      find("status").textContent = `${data.status}: ${done} of ${data.members.length} networks are trained`;
      showMembers(data.members);
      await showCurves(data.curves);
    } catch {
      find("status").textContent = "The training has ended or this machine does not answer; the report is in the run's folder.";
    }
    setTimeout(update, 3000);
  }

  find("axis").addEventListener("change", () => { drawn = ""; });
  update();
})();

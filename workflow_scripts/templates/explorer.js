"use strict";
// The norm explorer: a ladder of thresholds with exact counts (tokenscope/norms/exceedance.py), the same
// multiple of the median for both backbones.
(async () => {
  const { backbones: all, pictures } = JSON.parse(document.getElementById("explorer-data").textContent);
  const $ = (id) => document.getElementById(id);
  const name = (one) => `${one.family}/${one.size}/${one.registers}`;
  const count = (one) => Number(one.registers.match(/\d+/)[0]);
  const multiple = (one, rung) => one.times ** (rung / one.steps);
  const digits = (x) => (x === 0 ? "0" : Number(x.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 }));
  const ticks = ([low, high], values) => values.filter((value) => value >= low && value <= high);
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const options = (select, values) => {
    select.replaceChildren(...values.map((value) => new Option(value, value)));
  };

  const above = (one, block, rung) => {
    const { first, above: counts } = one.blocks[block - 1];
    if (rung < first) return one.tokens;
    return rung - first < counts.length ? counts[rung - first] : 0;
  };
  const bars = (one, block) => {
    const { first, above: counts } = one.blocks[block - 1];
    return counts.slice(0, -1).map((from, i) => ({
      rung: first + i,
      low: multiple(one, first + i),
      high: multiple(one, first + i + 1),
      percent: 100 * (from - counts[i + 1]) / one.tokens,
    })).filter((bar) => bar.percent > 0);
  };

  class Panel {
    constructor(box) {
      this.box = box;
      for (const [key, tag] of [["head", "h4"], ["share", "p"], ["facts", "p"], ["chart", "div"], ["gallery", "div"]]) {
        this[key] = box.appendChild(document.createElement(tag));
        this[key].className = key === "facts" ? "fine" : key;
      }
    }

    async show(one, block, domain) {
      this.one = one;
      this.block = Math.min(block, one.blocks.length);
      this.head.textContent = `${name(one)}, block ${this.block} of ${one.blocks.length}`;
      const words = { labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor", grid: false };
      const spec = {
        width: "container", height: 190, background: null, padding: 2,
        autosize: { type: "fit", contains: "padding" },
        config: { axis: words, view: { stroke: null } },
        params: [{ name: "rung", value: one.steps }],
        data: { values: bars(one, this.block) },
        layer: [
          ...["low", "high"].map((side) => ({
            transform: [{ filter: `(datum.rung >= rung) === ${side === "high"}` }],
            mark: { type: "rect", style: side, color: side === "high" ? "#d55e00" : "#0072b2" },
            encoding: {
              x: { field: "low", type: "quantitative", scale: { type: "log", domain: domain.x, nice: false }, title: "norm / median of the block", axis: { values: ticks(domain.x, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200]), format: "~g" } },
              x2: { field: "high" },
              y: { field: "percent", type: "quantitative", scale: { type: "log", domain: domain.y, nice: false }, title: "tokens in bin (%)", axis: { values: ticks(domain.y, [1e-5, 1e-4, 0.001, 0.01, 0.1, 1, 10, 100]), format: "~g" } },
              y2: { datum: domain.y[0] },
            },
          })),
          { data: { values: [{}] }, mark: { type: "rule", color: "currentColor", strokeDash: [4, 3] },
            encoding: { x: { datum: { expr: `pow(${one.times}, rung / ${one.steps})` }, type: "quantitative" } } },
        ],
      };
      this.result?.finalize();
      const made = await vegaEmbed(this.chart, spec, { renderer: "svg", actions: false, mode: "vega-lite" });
      this.result = made;
      this.chart.querySelector("svg")?.setAttribute("role", "img");
      this.chart.querySelector("svg")?.setAttribute("aria-label", `Histogram of norms of ${this.head.textContent}`);
      this.overlays = one.gallery.map((image) => this.picture(image));
      this.gallery.replaceChildren(...this.overlays.map((overlay) => overlay.box));
    }

    picture(image) {
      const [rows, columns] = this.one.grid;
      const drawing = svg("svg", { viewBox: `0 0 ${columns} ${rows}`, role: "img" });
      drawing.append(svg("image", { href: pictures[image.src], width: columns, height: rows, preserveAspectRatio: "none" }));
      const marks = drawing.appendChild(svg("path", { d: "" }));
      const box = document.createElement("div");
      const label = document.createElement("div");
      box.append(drawing, label);
      return { box, drawing, marks, label, id: image.id };
    }

    async mark(rung) {
      const { one, block } = this;
      const [rows, columns] = one.grid;
      const here = one.blocks[block - 1];
      const tokens = above(one, block, rung);
      const share = 100 * tokens / one.tokens;
      // Of none, the number of images says how sure that is: 95 % confidence (Clopper and Pearson).
      const images = one.tokens / (rows * columns);
      const most = 100 * (1 - 0.05 ** (1 / images));
      this.share.textContent = tokens ? `${digits(share)} % of tokens above`
        : `0 of ${one.tokens.toLocaleString("en")} tokens, 0 of ${images.toLocaleString("en")} images (< ${Number(most.toPrecision(2))} % of images)`;
      this.share.dataset.share = share;
      this.facts.textContent = `${tokens.toLocaleString("en")} of ${one.tokens.toLocaleString("en")} patch tokens; ` +
        `threshold ${digits(multiple(one, rung) * here.median)}, median ${digits(here.median)}`;
      this.overlays.forEach((overlay, image) => {
        const patches = here.patches[image];
        const on = patches.flatMap((highest, i) => (highest + here.first >= rung ? [i] : []));
        overlay.marks.setAttribute("d", on.map((i) => `M${i % columns} ${Math.floor(i / columns)}h1v1h-1z`).join(""));
        overlay.label.textContent = `${overlay.id}: ${on.length} of ${patches.length}`;
        overlay.drawing.setAttribute("aria-label", `${overlay.id}: ${on.length} of ${patches.length} patches above the threshold`);
      });
      await this.result.view.signal("rung", rung).runAsync();
    }
  }

  const left = new Panel($("ex-panel-left"));
  const right = new Panel($("ex-panel-right"));
  const find = (key) => all.find((one) => one.dataset === $("ex-dataset").value && name(one) === key);
  const NONE = "nothing";

  // The same family and size with another number of registers, the nearest kind first.
  const neighbour = (one) => {
    const kin = all.filter((other) => other !== one && other.dataset === one.dataset &&
      other.family === one.family && other.size === one.size);
    const other = kin.filter((candidate) => (count(candidate) > 0) !== (count(one) > 0));
    return [...other, ...kin][0];
  };
  const peak = (one) => {
    const counts = one.blocks.map((_, i) => above(one, i + 1, one.steps));
    return counts.indexOf(Math.max(...counts)) + 1;
  };

  const panels = () => (right.box.hidden ? [left] : [left, right]);
  const threshold = async () => {
    const rung = Number($("ex-threshold").value);
    const one = left.one;
    $("ex-threshold-out").textContent = `${digits(multiple(one, rung))} x median`;
    for (const panel of panels()) await panel.mark(rung);
  };
  const redraw = async () => {
    const one = find($("ex-left").value);
    const other = find($("ex-right").value);
    const block = Number($("ex-block").value);
    $("ex-block-out").textContent = `${block} of ${one.blocks.length}`;
    const shown = other ? [one, other] : [one];
    const ladders = shown.map((each) => each.blocks[Math.min(block, each.blocks.length) - 1]);
    const first = Math.min(...ladders.map((ladder) => ladder.first));
    const last = Math.max(...ladders.map((ladder) => ladder.first + ladder.above.length - 1), one.steps);
    $("ex-threshold").min = first;
    $("ex-threshold").max = last;
    const floor = 50 / Math.max(...shown.map((each) => each.tokens));  // half a token
    const percents = shown.flatMap((each) => bars(each, Math.min(block, each.blocks.length)).map((bar) => bar.percent));
    const domain = { x: [multiple(one, first), multiple(one, last)], y: [floor, 1.5 * Math.max(...percents)] };
    right.box.hidden = !other;
    await left.show(one, block, domain);
    if (other) await right.show(other, block, domain);
    await threshold();
  };
  const choose = async () => {
    const one = find($("ex-left").value);
    const names = all.filter((other) => other.dataset === one.dataset && other !== one).map(name);
    options($("ex-right"), [NONE, ...names]);
    $("ex-right").value = neighbour(one) ? name(neighbour(one)) : NONE;
    $("ex-block").max = one.blocks.length;
    $("ex-block").value = peak(one);
    await redraw();
  };
  const dataset = async () => {
    const mine = all.filter((one) => one.dataset === $("ex-dataset").value);
    options($("ex-left"), mine.map(name));
    const most = (one) => above(one, peak(one), one.steps) / one.tokens;
    const start = mine.filter((one) => neighbour(one) && !count(one)).sort((a, b) => most(b) - most(a))[0];
    if (start) $("ex-left").value = name(start);
    $("ex-threshold").min = -1000;
    $("ex-threshold").max = 1000;
    $("ex-threshold").value = mine[0].steps;
    await choose();
  };

  // One redraw at a time: what is asked meanwhile runs once, afterwards.
  let busy = false;
  let next = null;
  const run = async (action) => {
    if (busy) { next = action; return; }
    busy = true;
    try { await action(); } finally { busy = false; }
    if (next) { const after = next; next = null; await run(after); }
  };
  $("explorer").hidden = false;
  options($("ex-dataset"), [...new Set(all.map((one) => one.dataset))]);
  $("ex-dataset").addEventListener("change", () => run(dataset));
  $("ex-left").addEventListener("change", () => run(choose));
  $("ex-right").addEventListener("change", () => run(redraw));
  $("ex-block").addEventListener("input", () => run(redraw));
  $("ex-threshold").addEventListener("input", () => run(threshold));
  $("ex-reset").addEventListener("click", () => {
    $("ex-threshold").value = all[0].steps;
    run(threshold);
  });
  await run(dataset);
  $("explorer").dataset.ready = "yes";
})();

"use strict";
// The norm explorer: a ladder of thresholds with exact counts (tokenscope/norms/exceedance.py), the same
// multiple of the median for both backbones, or a rule of the papers by each one's own norms. What is
// shown stands in the address of the page.
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
  const grouped = (select, names, ...first) => {
    const groups = new Map();
    for (const one of names) {
      const family = one.startsWith("control/") ? "phantoms" : one.split("/")[0];
      if (!groups.has(family)) {
        groups.set(family, document.createElement("optgroup"));
        groups.get(family).label = family;
      }
      groups.get(family).append(new Option(one, one));
    }
    select.replaceChildren(...first.map((one) => new Option(one, one)), ...groups.values());
  };
  const rung = (one, value) => Math.round(one.steps * Math.log(value) / Math.log(one.times));
  const ABSOLUTE = 150;  // Darcet et al., of DINOv2-g
  const SHOWN = 5;  // pictures: those with most patches above, and one without any
  // Where a rule puts the threshold of one backbone's block, as the nearest rung.
  let rule = "times";
  const RULES = {
    times: () => Number($("ex-threshold").value),
    p98: (one, block) => {  // the step nearest to it above which anything is left
      const nearest = rung(one, one.blocks[block - 1].p98 / one.blocks[block - 1].median);
      return above(one, block, nearest) ? nearest : nearest - 1;
    },
    150: (one, block) => rung(one, ABSOLUTE / one.blocks[block - 1].median),
  };

  const at = (counts, all, first, rung) => {
    if (rung < first) return all;
    return rung - first < counts.length ? counts[rung - first] : 0;
  };
  const above = (one, block, rung) => {
    const { first, above: counts } = one.blocks[block - 1];
    return at(counts, one.tokens, first, rung);
  };
  const within = (one, block, rung) => {
    const { first, images } = one.blocks[block - 1];
    return images ? at(images, one.images, first, rung) : null;  // not counted by earlier versions
  };
  const patches = (one, block, rung, image) => {
    const { first, patches: highest } = one.blocks[block - 1];
    return highest[image].flatMap((one, i) => (one + first >= rung ? [i] : []));
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
      this.share.setAttribute("aria-live", "polite");
    }

    async show(one, block, domain, images) {
      const linear = $("ex-linear").checked;
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
            mark: { type: "rect", style: side, color: `var(--${side})` },
            encoding: {
              x: { field: "low", type: "quantitative", scale: { type: "log", domain: domain.x, nice: false }, title: "norm / median", axis: { values: ticks(domain.x, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200]), format: "~g" } },
              x2: { field: "high" },
              y: { field: "percent", type: "quantitative", scale: { type: linear ? "linear" : "log", domain: domain.y, nice: false }, title: "tokens in bin (%)", axis: linear ? { tickCount: 4 } : { values: ticks(domain.y, [1e-5, 1e-4, 0.001, 0.01, 0.1, 1, 10, 100]), format: "~g" } },
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
      this.chart.querySelector("svg > g")?.setAttribute("aria-hidden", "true");
      this.chart.querySelector("svg")?.setAttribute("aria-label", `Histogram of norms of ${this.head.textContent}`);
      this.overlays = images.map((image) => this.picture(one.gallery[image], image));
      this.gallery.replaceChildren(...this.overlays.map((overlay) => overlay.box));
    }

    picture(image, number) {
      const [rows, columns] = this.one.grid;
      const drawing = svg("svg", { viewBox: `0 0 ${columns} ${rows}`, role: "img" });
      drawing.append(svg("image", { href: pictures[image.src], width: columns, height: rows, preserveAspectRatio: "none" }));
      const marks = drawing.appendChild(svg("path", { d: "" }));
      const box = document.createElement("div");
      const label = document.createElement("div");
      box.append(drawing, label);
      return { box, drawing, marks, label, number, id: image.id };
    }

    async mark() {
      const { one, block } = this;
      const rung = RULES[rule](one, block);
      const [rows, columns] = one.grid;
      const here = one.blocks[block - 1];
      const tokens = above(one, block, rung);
      const share = 100 * tokens / one.tokens;
      // Of none, the number of images says how sure that is: 95 % confidence (Clopper and Pearson).
      const images = one.images ?? one.tokens / (rows * columns);
      const holding = within(one, block, rung);
      const most = 100 * (1 - 0.05 ** (1 / images));
      this.share.textContent = tokens ? `${digits(share)} % of tokens above` + (holding === null ? "" : `, in ${holding.toLocaleString("en")} of ${images.toLocaleString("en")} images`)
        : `0 of ${one.tokens.toLocaleString("en")} tokens, 0 of ${images.toLocaleString("en")} images (< ${Number(most.toPrecision(2))} % of images)`;
      this.share.dataset.share = share;
      const times = multiple(one, rung);
      this.facts.textContent = `${tokens.toLocaleString("en")} of ${one.tokens.toLocaleString("en")} patch tokens; ` +
        `threshold ${digits(times * here.median)} (${digits(times)} x median ${digits(here.median)})`;
      for (const overlay of this.overlays) {
        const on = patches(one, block, rung, overlay.number);
        overlay.marks.setAttribute("d", on.map((i) => `M${i % columns} ${Math.floor(i / columns)}h1v1h-1z`).join(""));
        overlay.label.textContent = `${on.length} of ${rows * columns} patches, ${overlay.id}`;
        overlay.drawing.setAttribute("aria-label", `${overlay.id}: ${on.length} of ${rows * columns} patches above the threshold`);
      }
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
  const outliers = (one, block) => above(one, block, one.steps);
  // The block with most outliers; of none the last one, for the first is the patch embedding's.
  const peak = (one) => {
    const counts = one.blocks.map((_, i) => outliers(one, i + 1));
    const most = Math.max(...counts);
    return most ? counts.indexOf(most) + 1 : one.blocks.length;
  };
  const most = (one) => outliers(one, peak(one)) / one.tokens;
  const phantom = (one) => one.family === "control";

  // The images with most patches above on the left (or else on the right), and one that has none.
  const chosen = (shown, block) => {
    const counts = (one) => one.gallery.map((_, image) => {
      const own = Math.min(block, one.blocks.length);
      return patches(one, own, RULES[rule](one, own), image).length;
    });
    const every = shown.map(counts);
    const by = every.find((own) => own.some((n) => n > 0)) || every[0];
    const order = by.map((_, image) => image).sort((a, b) => by[b] - by[a]);
    const none = order.find((image) => by[image] === 0);
    const some = order.filter((image) => image !== none).slice(0, none === undefined ? SHOWN : SHOWN - 1);
    return none === undefined ? some : [...some, none];
  };

  const panels = () => (right.box.hidden ? [left] : [left, right]);
  const KEYS = { dataset: "ex-dataset", left: "ex-left", right: "ex-right", block: "ex-block", threshold: "ex-threshold" };
  let told = false;  // the address is left alone until a reader has chosen something
  const tell = () => {
    if (!told) return;
    const state = new URLSearchParams(Object.entries(KEYS).map(([key, id]) => [key, $(id).value]));
    if (rule !== "times") state.set("rule", rule);
    if ($("ex-linear").checked) state.set("linear", "1");
    try { history.replaceState(null, "", `#explorer&${state}`); } catch { /* not allowed here */ }
  };
  const threshold = async () => {
    const one = left.one;
    const times = multiple(one, RULES[rule](one, left.block));
    const says = `${digits(times)} x median`;
    $("ex-times").value = Number(times.toPrecision(4));
    $("ex-threshold-out").textContent = says;
    $("ex-threshold").setAttribute("aria-valuetext", says);
    const at = { "ex-reset": rule === "times" && RULES.times() === one.steps, "ex-p98": rule === "p98", "ex-150": rule === "150" };
    for (const [id, on] of Object.entries(at)) $(id).setAttribute("aria-pressed", on);
    for (const panel of panels()) await panel.mark();
    tell();
  };
  const redraw = async () => {
    const one = find($("ex-left").value);
    const other = find($("ex-right").value);
    const block = Number($("ex-block").value);
    $("ex-block-out").textContent = `${block} of ${one.blocks.length}`;
    $("ex-block").setAttribute("aria-valuetext", `block ${block} of ${one.blocks.length}`);
    const shown = other ? [one, other] : [one];
    const ladders = shown.map((each) => each.blocks[Math.min(block, each.blocks.length) - 1]);
    const first = Math.min(...ladders.map((ladder) => ladder.first));
    const last = Math.max(...ladders.map((ladder) => ladder.first + ladder.above.length - 1), one.steps);
    $("ex-threshold").min = first;
    $("ex-threshold").max = last;
    const linear = $("ex-linear").checked;
    const floor = linear ? 0 : 50 / Math.max(...shown.map((each) => each.tokens));  // half a token
    const percents = shown.flatMap((each) => bars(each, Math.min(block, each.blocks.length)).map((bar) => bar.percent));
    const domain = { x: [multiple(one, first), multiple(one, last)], y: [floor, (linear ? 1.05 : 1.5) * Math.max(...percents)] };
    right.box.hidden = !other;
    $("ex-pair").classList.toggle("single", !other);
    const images = chosen(shown, block);
    await left.show(one, block, domain, images);
    if (other) await right.show(other, block, domain, images);
    await threshold();
  };
  const choose = async () => {
    const one = find($("ex-left").value);
    const others = all.filter((other) => other.dataset === one.dataset && other !== one);
    grouped($("ex-right"), others.map(name), NONE);
    // Beside one without outliers its twin says nothing new: the one that has most does.
    const telling = others.filter((other) => most(other) > 0).sort((a, b) => most(b) - most(a))[0];
    const beside = (most(one) > 0 && neighbour(one)) || telling || neighbour(one);
    $("ex-right").value = beside ? name(beside) : NONE;
    $("ex-block").max = one.blocks.length;
    $("ex-block").value = peak(one);
    await redraw();
  };
  const dataset = async () => {
    const mine = all.filter((one) => one.dataset === $("ex-dataset").value);
    grouped($("ex-left"), mine.map(name));
    const score = (one) => [!phantom(one), most(one) > 0 && Boolean(neighbour(one)), !count(one), most(one)];
    const start = [...mine].sort((a, b) => {
      const [x, y] = [score(a), score(b)];
      const i = x.findIndex((value, k) => value !== y[k]);
      return i < 0 ? 0 : Number(y[i]) - Number(x[i]);
    })[0];
    $("ex-left").value = name(start);
    rule = "times";
    $("ex-threshold").min = -1000;
    $("ex-threshold").max = 1000;
    $("ex-threshold").value = mine[0].steps;
    $("ex-reset").textContent = `${mine[0].times} x median (this study)`;
    await choose();
  };
  // What the address asks for, as far as it is here.
  const asked = async () => {
    const state = new URLSearchParams(location.hash.replace(/^#explorer&?/, ""));
    const mine = (key) => all.some((one) => one.dataset === $("ex-dataset").value && name(one) === key);
    if (all.some((one) => one.dataset === state.get("dataset"))) $("ex-dataset").value = state.get("dataset");
    await dataset();
    if (mine(state.get("left"))) { $("ex-left").value = state.get("left"); await choose(); }
    if (mine(state.get("right")) || state.get("right") === NONE) $("ex-right").value = state.get("right");
    if (state.get("block") > 0) $("ex-block").value = state.get("block");
    if (state.has("threshold")) {
      $("ex-threshold").min = -1000;
      $("ex-threshold").max = 1000;
      $("ex-threshold").value = state.get("threshold");
    }
    if (state.get("rule") in RULES) rule = state.get("rule");
    $("ex-linear").checked = state.get("linear") === "1";
    await redraw();
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
  $("ex-p98").hidden = !all.every((one) => one.blocks[0].p98);
  $("ex-dataset").replaceChildren(...[...new Set(all.map((one) => one.dataset))].map((one) => new Option(one, one)));
  const on = (id, event, action) => $(id).addEventListener(event, () => { told = true; return action(); });
  const set = (to) => { rule = to; return run(threshold); };
  on("ex-dataset", "change", () => run(dataset));
  on("ex-left", "change", () => run(choose));
  on("ex-right", "change", () => run(redraw));
  on("ex-block", "input", () => run(redraw));
  on("ex-linear", "change", () => run(redraw));
  on("ex-threshold", "input", () => set("times"));
  on("ex-times", "change", () => {
    const value = Number($("ex-times").value);
    if (value > 0) $("ex-threshold").value = rung(left.one, value);
    return set("times");
  });
  on("ex-reset", "click", () => {
    $("ex-threshold").value = all[0].steps;
    return set("times");
  });
  on("ex-p98", "click", () => set("p98"));
  on("ex-150", "click", () => set("150"));
  await run(location.hash.startsWith("#explorer&") ? asked : dataset);
  if (location.hash.startsWith("#explorer")) $("explorer").scrollIntoView();
  $("explorer").dataset.ready = "yes";
})();

"use strict";
// Themes, search, ways into folded parts, sorting and filtering of tables, figures, printing.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // The theme is that of the screen until a reader chooses one, which is kept where that is allowed.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = {
    get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* not allowed here */ } },
  };
  const paint = () => { root.dataset.theme = kept.get() || chosen || (dark.matches ? "dark" : "light"); };
  let chosen = "";
  paint();
  dark.addEventListener("change", paint);
  document.getElementById("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    kept.set(chosen);
    paint();
  });

  // What a link leads to may be folded away, or be on another leaf of a pager.
  const show = (target) => {
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
      if (node.tagName === "FIGURE" && node.parentElement.turn) node.parentElement.turn(node);
    }
    target.scrollIntoView();
  };
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1).split("&")[0]));
    if (target) show(target);
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {  // a link to where one already is
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.hash === location.hash) follow();
  });

  const text = new Intl.Collator("en", { numeric: true });
  const key = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  };
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");  // empty cells last, either way
    const numbers = [Number(a), Number(b)];
    return sign * (numbers.some(Number.isNaN) ? text.compare(a, b) : numbers[0] - numbers[1]);
  };
  for (const table of all("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.dataset.label = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign)));
      });
    });
  }

  for (const input of all(".filter input")) {
    const box = input.closest("label").nextElementSibling;
    const rows = all("tbody tr", box);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      let left = 0;
      for (const row of rows) {
        const names = [...row.cells].map((cell) => cell.title).join(" ");  // as in the CSV
        const content = `${row.textContent} ${names}`.toLowerCase();
        row.hidden = !words.every((word) => content.includes(word));
        left += !row.hidden;
      }
      box.nextElementSibling.hidden = left > 0;
    });
  }
  for (const link of all("a[data-rows]")) {
    link.addEventListener("click", () => {
      const input = document.querySelector(`#rows-${link.dataset.rows} .filter input`);
      if (!input) return;
      input.value = link.dataset.of;
      input.dispatchEvent(new Event("input"));
    });
  }

  // Figures of one caption, one family a leaf.
  for (const pager of all(".pager")) {
    const figures = all("figure", pager);
    const frame = figures[0].parentElement;
    const label = document.createElement("label");
    label.textContent = `${pager.dataset.caption} `;
    const select = document.createElement("select");
    select.append(...figures.map((figure, i) => new Option(figure.querySelector("figcaption b")?.textContent || i + 1, i)));
    label.append(select);
    pager.prepend(label);
    frame.turn = (shown) => {
      figures.forEach((figure) => figure.classList.toggle("turned", figure !== shown));
      select.value = figures.indexOf(shown);
    };
    select.addEventListener("change", () => frame.turn(figures[select.value]));
    frame.turn(figures[0]);
  }

  const dialog = document.getElementById("zoom");
  const large = dialog.querySelector("img");
  for (const opener of all("figure .open")) {
    opener.addEventListener("click", () => {
      const image = opener.querySelector("img");
      large.src = image.src;
      large.alt = image.alt;
      large.style.width = "100%";
      dialog.showModal();
    });
  }
  for (const button of all("[data-zoom]", dialog)) {
    button.addEventListener("click", () => {
      large.style.width = `${parseFloat(large.style.width) * button.dataset.zoom}%`;
    });
  }

  // Search: everything that has a name on this page. Enter goes to the first, arrows through them.
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const MOST = 40;
  const entry = (target, kind, words, more = "") =>
    ({ target, kind, words: words.trim().replace(/\s+/g, " "), more });
  let entries = null;
  const index = () => [
    ...all("tr[data-item]").map((row) => entry(document.getElementById(row.querySelector("a")?.hash.slice(1)) || row, row.closest("details").querySelector("summary").textContent.split(":")[0], row.dataset.item, row.cells[1].textContent)),
    ...all("main h2, main h3").filter((head) => !head.closest("summary")).map((head) => entry(head, "section", head.textContent)),
    ...all("details.backbone").map((one) => entry(one, "backbone", one.querySelector("h3").textContent, one.dataset.backbone)),
    ...all("details.criterion").map((one) => entry(one, "statement", one.querySelector("summary").textContent)),
    ...all("main figure").map((one) => entry(one, "figure", one.querySelector("figcaption")?.textContent || "")),
    ...all("details.raw").map((one) => entry(one, "rows", one.querySelector("summary").textContent)),
    ...all(".references li").map((one) => entry(one, "reference", one.textContent)),
    ...all("main section > p:not(.rests), .disagree li").map((one) => entry(one, "text", one.textContent)),
  ];
  const close = () => { found.hidden = true; };
  const go = (target) => { close(); find.value = ""; show(target); };
  find.addEventListener("input", () => {
    entries ??= index();
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length ? entries.filter((one) => {
      const content = `${one.words} ${one.more}`.toLowerCase();
      return words.every((word) => content.includes(word));
    }) : [];
    found.replaceChildren(...hits.slice(0, MOST).map((one) => {
      const item = document.createElement("li");
      const button = item.appendChild(document.createElement("button"));
      button.type = "button";
      const kind = button.appendChild(document.createElement("small"));
      kind.textContent = `${one.kind} `;
      button.append(one.words.length > 110 ? `${one.words.slice(0, 110)} …` : one.words);
      button.addEventListener("click", () => go(one.target));
      return item;
    }));
    if (words.length && hits.length !== Math.min(hits.length, MOST) || words.length && !hits.length) {
      const note = found.appendChild(document.createElement("li"));
      note.textContent = hits.length ? `and ${hits.length - MOST} more: another word narrows it` : "Nothing on this page has all of these words.";
    }
    found.hidden = !words.length;
  });
  document.querySelector(".search").addEventListener("keydown", (event) => {
    const buttons = all("button", found);
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Escape") { find.value = ""; close(); find.focus(); }
    if (event.key === "Enter" && event.target === find) buttons[0]?.click();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = at + (event.key === "ArrowDown" ? 1 : -1);
      (next < 0 ? find : buttons[Math.min(next, buttons.length - 1)])?.focus();
    }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) close(); });

  // What is gone to stands below the navigation, however many lines that has.
  const nav = document.querySelector("nav");
  new ResizeObserver(() => { root.style.scrollPaddingTop = `${nav.offsetHeight + 12}px`; }).observe(nav);

  // Where one is.
  const links = all("nav a");
  const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
  let asked = false;
  const mark = () => {
    asked = false;
    const at = sections.reduce((last, section, i) => (section && section.getBoundingClientRect().top < 140 ? i : last), 0);
    links.forEach((link, i) => { if (i === at) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current"); });
  };
  addEventListener("scroll", () => { if (!asked) { asked = true; requestAnimationFrame(mark); } }, { passive: true });
  mark();
  if (location.hash) follow();

  // On paper: what was asked here, with all that decided it, and backbones that a reader has opened.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = all("details.criterion[data-ran], details.backbone[open] details:not(.raw)").filter((one) => !one.open);
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of unfolded) details.open = false; });
})();

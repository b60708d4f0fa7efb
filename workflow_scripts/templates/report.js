"use strict";
// Themes, sorting and filtering of tables, enlarged figures, printing.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => { root.dataset.theme = theme; };
  set(dark.matches ? "dark" : "light");
  dark.addEventListener("change", (event) => set(event.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () =>
    set(root.dataset.theme === "dark" ? "light" : "dark"));

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
  for (const table of document.querySelectorAll("table.sortable")) {
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

  for (const input of document.querySelectorAll(".filter input")) {
    const rows = [...input.closest("label").nextElementSibling.querySelectorAll("tbody tr")];
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const names = [...row.cells].map((cell) => cell.title).join(" ");  // as in the CSV
        const content = `${row.textContent} ${names}`.toLowerCase();
        row.hidden = !words.every((word) => content.includes(word));
      }
    });
  }

  const dialog = document.getElementById("zoom");
  const large = dialog.querySelector("img");
  for (const opener of document.querySelectorAll("figure .open")) {
    opener.addEventListener("click", () => {
      const image = opener.querySelector("img");
      large.src = image.src;
      large.alt = image.alt;
      large.style.width = "100%";
      dialog.showModal();
    });
  }
  for (const button of dialog.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      large.style.width = `${parseFloat(large.style.width) * button.dataset.zoom}%`;
    });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.criterion, details.fine")) details.open = true;
  });
})();

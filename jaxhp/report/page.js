"use strict";
// Sorts a table by the column whose heading is pressed; what has no number stays last.
document.addEventListener("click", (event) => {
  const heading = event.target.closest("th button")?.parentElement;
  if (!heading) return;
  const body = heading.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const number = Number(x) - Number(y);
    return (Number.isNaN(number) ? x.localeCompare(y) : number) * (down ? -1 : 1);
  };
  body.append(...[...body.rows].sort(order));
});

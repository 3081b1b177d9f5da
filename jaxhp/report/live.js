"use strict";
// Asks for a newer page every two seconds while somebody looks, and takes its content over. What is open stays open, and
// what is sorted sorted.
(() => {
  const state = document.getElementById("live");
  let shown = document.querySelector("main").outerHTML;
  let tag = "";
  const say = (text, lost) => {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("lost", lost);
  };
  const all = (query) => [...document.querySelectorAll(query)];

  const take = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = page.querySelector("main");
    if (main.outerHTML === shown) return;
    shown = main.outerHTML;
    const open = all("details").map((one) => one.open);
    const across = all(".scroll").map((one) => one.scrollLeft);
    const sorted = all("table").map((one) => {
      const heading = one.querySelector("th[aria-sort]");
      return heading && [heading.textContent, heading.getAttribute("aria-sort") === "descending" ? 2 : 1];
    });
    document.title = page.title;
    document.querySelector("main").replaceWith(document.adoptNode(main));
    all("details").forEach((one, place) => (one.open = open[place] ?? one.open));
    all(".scroll").forEach((one, place) => (one.scrollLeft = across[place] ?? 0));
    all("table").forEach((one, place) => {
      const [name, presses] = sorted[place] ?? [null, 0];
      const button = [...one.querySelectorAll("th button")].find((each) => each.textContent === name);
      for (let press = 0; button && press < presses; press++) button.click();
    });
    say(`live, renewed at ${new Date().toLocaleTimeString()}`, false);
  };

  const ask = async () => {
    let wait = 2000;
    try {
      if (!document.hidden) {
        const answer = await fetch("/", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
        if (answer.status === 200) {
          tag = answer.headers.get("ETag") ?? "";
          take(await answer.text());
        }
        if (state.classList.contains("lost")) say("live", false);
      }
    } catch {
      say("not live: jaxhp watch has ended, or cannot be reached", true);
      wait = 5000;
    }
    setTimeout(ask, wait);
  };
  setTimeout(ask, 500);
})();

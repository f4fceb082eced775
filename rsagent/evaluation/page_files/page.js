"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const STEP = 40;
const experts = [];
let found = [];
let shown = 0;

function add(parent, tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

function colour(name) {
  if (!experts.includes(name)) experts.push(name);
  return "e" + (experts.indexOf(name) % 5);
}

function card(item) {
  const article = document.createElement("article");
  const place = add(article, "div");
  if (item.p >= 0) {
    const picture = add(place, "img");
    picture.src = data.pictures[item.p];
    picture.alt = item.i;
  }
  const words = add(article, "div");
  add(words, "p", item.i + (item.t ? " · " + item.t : ""), "meta");
  if (item.q) add(words, "p", item.q);
  add(words, "p", "true: " + item.r.join(" | "), "truth");
  item.s.forEach(([text, score, told], index) => {
    const line = add(words, "p", undefined, "said");
    add(line, "b", String.fromCharCode(65 + index));
    add(line, "span", text || "(nothing)");
    add(line, "span", "  " + data.score + " " + score.toFixed(2), "score");
    const said = add(words, "p", undefined, "experts");
    for (const [expert, part] of told) add(said, "span", expert + ": " + part + " ", colour(expert));
  });
  return article;
}

function wanted(item) {
  const type = get("type").value;
  const which = get("which").value;
  const words = get("words").value.trim().toLowerCase();
  const gap = Math.max(...item.s.slice(1).map((one) => one[1])) - item.s[0][1];
  if (type && item.t !== type) return false;
  if (which === "worse" && !(gap > 0)) return false;
  if (which === "better" && !(gap < 0)) return false;
  if (which === "same" && gap !== 0) return false;
  if (which === "wrong" && item.s[0][1] >= 1) return false;
  if (!words) return true;
  return [item.i, item.q, ...item.r, ...item.s.map((one) => one[0])].some((text) => text.toLowerCase().includes(words));
}

function more() {
  get("items").append(...found.slice(shown, shown + STEP).map(card));
  shown = Math.min(shown + STEP, found.length);
  get("count").textContent = shown + " of " + found.length + " shown, " + data.items.length + " in all";
  get("more").hidden = shown >= found.length;
}

function filter() {
  found = data.items.filter(wanted);
  shown = 0;
  get("items").replaceChildren();
  more();
}

for (const type of [...new Set(data.items.map((item) => item.t))].filter(Boolean).sort()) {
  const option = add(get("type"), "option", type);
  option.value = type;
}
get("filters").addEventListener("input", filter);
get("filters").addEventListener("submit", (event) => event.preventDefault());
get("more").addEventListener("click", more);
filter();
document.documentElement.dataset.ready = "yes";
document.documentElement.dataset.readyMs = Math.round(performance.now());

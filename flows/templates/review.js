// SPDX-License-Identifier: Apache-2.0
// One item after the other. Everything is put in by textContent: names and texts are strangers'.
"use strict";

const byId = (id) => document.getElementById(id);
const options = [...document.querySelectorAll("#labels li")];
const titles = Object.fromEntries(options.map((one) => [one.dataset.name, one.dataset.title]));
const STRENGTHS = ["a trace", "mild", "strong"];
const MAX = Number(document.body.dataset.maxLabels);
const filter = byId("filter");

let key = sessionStorage.getItem("key"); // of this tab alone, so that two raters may sit at one browser
let name = sessionStorage.getItem("name");
let state = null; // {rater, places, answered}
let at = 0; // index into state.places
let chosen = []; // [label, intensity or null]
let none = false;
let current = -1; // the option that Enter chooses
let busy = false;

async function ask(path, body) {
  const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const reply = await fetch(path, sent);
  if (!reply.ok) throw Object.assign(new Error(await reply.text()), { status: reply.status });
  return reply.json();
}

function tell(text) {
  for (const one of document.querySelectorAll(".problem")) one.textContent = text;
}

function show(id) {
  for (const one of document.querySelectorAll("main")) one.hidden = one.id !== id;
}

function made(tag, text, into, type) {
  const one = document.createElement(tag);
  one.textContent = text;
  if (type) one.className = type;
  into.append(one);
  return one;
}

async function guarded(work) {
  if (busy) return;
  busy = true;
  tell("");
  try {
    await work();
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem("key");
      show("start");
    }
    tell(error.status ? error.message : "The server does not answer; what you had stored is safe. Try again.");
  } finally {
    busy = false;
  }
}

async function begin(given) {
  key = (await ask("/raters", { rater: given })).key;
  name = given;
  sessionStorage.setItem("key", key);
  sessionStorage.setItem("name", name);
  await goOn();
}

async function goOn() {
  state = await ask(`/raters/${key}`);
  const open = state.places.findIndex((place) => !state.answered.includes(place));
  if (open < 0) show("end");
  else await open_(open);
}

async function open_(index) {
  const place = state.places[index];
  const { content, answer } = await ask(`/raters/${key}/items/${place}`);
  at = index;
  chosen = answer ? answer.map((one) => [...one]) : [];
  none = answer !== null && answer.length === 0;
  filter.value = "";
  current = -1;
  const item = byId("item");
  item.replaceChildren();
  item.className = content.check ? "check" : "";
  if (content.check) made("div", content.check, item);
  else if (content.sound) {
    const player = made("audio", "", item);
    player.controls = true;
    player.src = `/raters/${key}/sounds/${place}`;
  } else if (content.turns) {
    content.turns.forEach((turn, number) => {
      const line = made("div", "", item, number === content.turns.length - 1 ? "turn last" : "turn");
      made("b", `${turn.speaker}: `, line);
      made("span", turn.text, line);
    });
  } else made("div", content.text, item);
  byId("question").textContent = content.check ? "Do as it says." : byId("question").dataset.question;
  byId("who").textContent = state.rater;
  byId("count").textContent = `${index + 1} of ${state.places.length}, ${state.answered.length} answered`;
  byId("done").max = state.places.length;
  byId("done").value = state.answered.length;
  byId("back").disabled = index === 0;
  show("rate");
  draw();
  filter.focus();
  item.scrollTop = item.scrollHeight; // the turn to rate is the last
}

function draw() {
  const list = byId("chosen");
  list.replaceChildren();
  for (const one of chosen) {
    const line = made("li", "", list);
    made("span", titles[one[0]], line);
    STRENGTHS.forEach((strength, value) => {
      const button = made("button", `${strength} `, line);
      made("kbd", String(value), button);
      button.type = "button";
      button.setAttribute("aria-pressed", String(one[1] === value));
      button.addEventListener("click", () => { one[1] = value; draw(); filter.focus(); });
    });
    const away = made("button", "\u00d7", line);
    away.type = "button";
    away.setAttribute("aria-label", `Take ${titles[one[0]]} back`);
    away.addEventListener("click", () => { toggle(one[0]); filter.focus(); });
  }
  if (!chosen.length) made("li", none ? "None: I perceive no emotion." : `Nothing chosen yet. Up to ${MAX} emotions, or none.`, list, "empty");
  byId("none").setAttribute("aria-pressed", String(none));
  const words = filter.value.trim().toLowerCase();
  for (const option of options) {
    option.hidden = words !== "" && !option.dataset.words.toLowerCase().split(/\s+/).some((word) => word.startsWith(words)) && !option.dataset.title.toLowerCase().startsWith(words);
    option.toggleAttribute("data-chosen", chosen.some((one) => one[0] === option.dataset.name));
  }
  // a label whose own name begins so comes before one that has it as a synonym
  const fits = visible();
  if (words && (current < 0 || options[current].hidden)) {
    current = options.indexOf(fits.find((one) => one.dataset.title.toLowerCase().startsWith(words)) ?? fits[0] ?? null);
  }
  options.forEach((option, number) => option.setAttribute("aria-selected", String(number === current)));
  if (current >= 0) options[current].scrollIntoView({ block: "nearest" });
  filter.setAttribute("aria-activedescendant", current >= 0 ? options[current].id : "");
}

const visible = () => options.filter((one) => !one.hidden);

function toggle(label) {
  tell("");
  const place = chosen.findIndex((one) => one[0] === label);
  if (place >= 0) chosen.splice(place, 1);
  else if (chosen.length >= MAX) tell(`Up to ${MAX} emotions: take one back first.`);
  else {
    chosen.push([label, null]);
    none = false;
  }
  filter.value = "";
  current = -1;
  draw();
}

function chooseNone() {
  none = !none;
  if (none) chosen = [];
  draw();
}

function step(by) {
  const shown = visible();
  if (!shown.length) return;
  const place = shown.indexOf(options[current]);
  const next = place < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(place + by, 0), shown.length - 1);
  current = options.indexOf(shown[next]);
  draw();
}

async function next() {
  const open = chosen.find((one) => one[1] === null);
  if (open) return tell(`How strong is ${titles[open[0]]}? 0 a trace, 1 mild, 2 strong.`);
  if (!chosen.length && !none) return tell("Choose an emotion, or - for none.");
  const place = state.places[at];
  await ask(`/raters/${key}/items/${place}`, { labels: chosen });
  if (!state.answered.includes(place)) state.answered.push(place);
  if (at + 1 < state.places.length) await open_(at + 1);
  else await goOn();
}

async function move(by) {
  const index = at + by;
  // forwards as far as there are answers: an item is not skipped
  if (index < 0 || index >= state.places.length || (by > 0 && !state.answered.includes(state.places[at]))) return;
  await open_(index);
}

function pressed(event) {
  if (byId("rate").hidden || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const inFilter = document.activeElement === filter;
  if (!inFilter && document.activeElement !== document.body) return; // a button or the player has its own keys
  const empty = filter.value === "";
  const player = document.querySelector("#item audio");
  let done = true;
  if (event.key === "ArrowDown") step(1);
  else if (event.key === "ArrowUp") step(-1);
  else if (event.key === "Enter" && !event.repeat) {
    if (current >= 0) toggle(options[current].dataset.name);
    else if (empty) guarded(next);
    else tell("No emotion begins so.");
  } else if (event.key === "Escape") {
    filter.value = "";
    current = -1;
    draw();
  } else if (/^[012]$/.test(event.key)) {
    const last = chosen.find((one) => one[1] === null) ?? chosen[chosen.length - 1];
    if (last) last[1] = Number(event.key);
    draw();
  } else if (event.key === "-") chooseNone();
  else if (event.key === " " && empty && player) {
    if (player.paused) player.play();
    else player.pause();
  } else if (event.key === "Backspace" && empty && chosen.length) toggle(chosen[chosen.length - 1][0]);
  else if (event.key === "ArrowLeft" && empty) guarded(() => move(-1));
  else if (event.key === "ArrowRight" && empty) guarded(() => move(1));
  else done = false;
  if (done) event.preventDefault();
  else if (!inFilter && event.key.length === 1) filter.focus();
}

document.addEventListener("keydown", pressed);
filter.addEventListener("input", () => { current = -1; draw(); });
byId("labels").addEventListener("click", (event) => {
  const option = event.target.closest("li");
  if (option) toggle(option.dataset.name);
  filter.focus();
});
byId("none").addEventListener("click", () => { chooseNone(); filter.focus(); });
byId("next").addEventListener("click", () => guarded(next));
byId("back").addEventListener("click", () => guarded(() => move(-1)));
byId("again").addEventListener("click", () => guarded(() => open_(0)));
byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(() => begin(byId("name").value));
});

// a reload goes on; a key that ended (the server of another folder, or another window) is had again by the name
if (key && name) guarded(() => goOn().catch((error) => (error.status === 401 ? begin(name) : Promise.reject(error))));

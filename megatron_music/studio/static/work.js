import { ask, follow, typing, waiting } from "./api.js";
import { button, showChoices } from "./choices.js";
import { inWords } from "./facts.js";
import { chosenWishes } from "./options.js";
import { Player } from "./player.js";
import { Roll } from "./roll.js";

const $ = (id) => document.getElementById(id);
const say = (text) => { $("state").textContent = text; };
const marked = { bars: new Set(), tracks: new Set() };
const roll = new Roll($("roll"), { marking: (first, last) => {
  const bars = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const all = bars.every((bar) => marked.bars.has(bar));
  for (const bar of bars) { if (all) marked.bars.delete(bar); else marked.bars.add(bar); }
  showMarks();
} });
const player = Player.of(document.querySelector(".player"), roll);
let project = JSON.parse($("data").textContent);
let running = null;

const head = () => project.versions.find((version) => version.key === project.head);
const children = (key) => project.versions.filter((version) => version.parent === key);

function show() {
  const version = head();
  const { facts, links } = version;
  document.title = $("title").textContent = version.title;
  $("about").textContent = `${inWords(facts)}, ${facts.notes} notes, model ${project.model}`;
  roll.draw(facts);
  player.load(links.audio, facts);
  for (const kind of ["midi", "score", "wav", "picture"]) $(kind).href = links[kind];
  for (const bar of marked.bars) if (bar > facts.bars) marked.bars.delete(bar);
  marked.tracks.clear();
  showMarks();
  $("undo").disabled = !version.parent;
  $("redo").disabled = !children(version.key).length;
  showTree();
}

function showMarks() {
  const { facts } = head();
  roll.mark(marked.bars);
  const toggles = (place, set, names) => {
    const focused = [...place.children].indexOf(document.activeElement);
    place.replaceChildren(...names.map(([value, text]) => {
      const made = button(text);
      made.setAttribute("aria-pressed", set.has(value));
      made.addEventListener("click", () => { if (!set.delete(value)) set.add(value); showMarks(); });
      return made;
    }));
    place.children[focused]?.focus();
  };
  toggles($("bars"), marked.bars, Array.from({ length: facts.bars }, (_, bar) => [bar + 1, `${bar + 1}`]));
  toggles($("tracks"), marked.tracks, facts.tracks.map((track) => [track.wish ?? track.instrument, track.name ?? track.instrument]));
}

function told(version) {
  const { wishes } = version;
  if (!version.parent) return "as it began";
  if (wishes.fill_bars?.length || wishes.fill_tracks?.length) {
    return `composed anew: ${wishes.fill_bars?.length ? `bars ${wishes.fill_bars.join(", ")}` : "all bars"}${wishes.fill_tracks?.length ? ` of ${wishes.fill_tracks.join(", ")}` : ""}`;
  }
  if (wishes.vary) return "varied";
  if (wishes.voice) return `composed around ${wishes.voice}`;
  if (wishes.instruments?.length) return `with ${wishes.instruments.join(", ")}`;
  if (wishes.drop?.length) return `without ${wishes.drop.join(", ")}`;
  return `continued to ${wishes.bars} bars`;
}

function showTree() {
  const depth = (version) => (version.parent ? 1 + depth(project.versions.find((one) => one.key === version.parent)) : 0);
  const ordered = [];
  const walk = (version) => { ordered.push(version); children(version.key).forEach(walk); };
  project.versions.filter((version) => !version.parent).forEach(walk);
  $("tree").replaceChildren(...ordered.map((version) => {
    const line = document.createElement("li");
    line.style.paddingInlineStart = `${depth(version) * 1.2}rem`;
    const made = button(told(version));
    if (version.key === project.head) made.setAttribute("aria-current", "true");
    made.setAttribute("aria-pressed", version.key === project.head);
    made.addEventListener("click", () => go(version));
    line.append(made);
    return line;
  }));
}

async function go(version) {
  try {
    project = await ask(`/api/v1/projects/${project.key}/head`, "PUT", { version: version.key });
    $("choices").replaceChildren();
    say("");
    show();
  } catch (fault) { say(fault.message); }
}

async function compose(wishes) {
  if (running) return;
  wishes = { ...chosenWishes(), ...wishes };
  try {
    const job = await ask("/api/v1/compositions", "POST", { model: project.model, version: project.head, wishes });
    running = job.key;
    const cancel = button("Cancel");
    cancel.addEventListener("click", () => ask(`/api/v1/compositions/${job.key}`, "DELETE").catch(() => {}));
    const line = (text) => { $("state").replaceChildren(`${text} `, cancel); };
    line(waiting(job));
    await follow(job.events, { place: (event) => line(waiting(event)), running: () => line("Composing."), bar: (event) => line(`Composing: ${event.instrument}, bar ${event.bar}.`) });
    const { versions } = await ask(`/api/v1/compositions/${job.key}`);
    say(versions.length > 1 ? `${versions.length} variations: keep one.` : "Keep it, or try again.");
    showChoices($("choices"), versions, go);
    $("choices").scrollIntoView({ block: "nearest" });
  } catch (fault) { say(`Not composed: ${fault.message}`); } finally { running = null; }
}

function marks() {
  const wishes = {};
  if (marked.bars.size) wishes.fill_bars = [...marked.bars].sort((one, other) => one - other);
  if (marked.tracks.size) wishes.fill_tracks = [...marked.tracks];
  return wishes;
}

function someTracks(act) {
  if (marked.tracks.size) act([...marked.tracks]);
  else say("Mark a track first.");
}

$("fill").addEventListener("click", () => {
  const wishes = marks();
  if (Object.keys(wishes).length) compose(wishes);
  else say("Mark bars or tracks first.");
});
$("vary").addEventListener("click", () => compose({ vary: 0.25 }));
$("continue").addEventListener("click", () => compose({ bars: head().facts.bars + Number($("more").value) }));
$("harmonise").addEventListener("click", () => someTracks((voices) => {
  if (voices.length > 1) say("Mark only the track to keep.");
  else compose({ voice: voices[0] });
}));
$("drop").addEventListener("click", () => someTracks((drop) => compose({ drop, instruments: [], count: 1 })));
$("add").addEventListener("click", () => compose({ instruments: [$("instrument").value], bars: head().facts.bars }));
$("undo").addEventListener("click", () => go({ key: head().parent }));
$("redo").addEventListener("click", () => go(children(project.head).at(-1)));
document.addEventListener("keydown", (event) => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $(event.shiftKey ? "redo" : "undo").click(); return; }
  if (typing(event)) return;
  if (event.key === " " && !/^(BUTTON|A)$/.test(event.target.tagName)) { event.preventDefault(); player.toggle(); }
});

show();

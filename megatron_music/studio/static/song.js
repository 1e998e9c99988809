import { ask, follow, typing, waiting } from "./api.js";
import { inWords } from "./facts.js";
import { Player } from "./player.js";
import { Roll, evenBars } from "./roll.js";

const $ = (id) => document.getElementById(id);
const article = $("song");
const { number, query } = article.dataset;
const path = `/api/v1/songs/${number}`;
const roll = new Roll($("roll"));
const player = Player.of(document.querySelector(".player"), roll);
let mine = Number(localStorage.getItem(`vote ${path}${query}`) ?? 0);

function show(song) {
  document.title = song.title;
  $("title").textContent = song.title;
  const { facts, links } = song;
  $("about").textContent = `, ${inWords(facts)}`;
  $("votes").value = song.votes;
  $("state").textContent = "";
  roll.draw(facts);
  player.load(links.audio, facts);
  for (const kind of ["midi", "score", "wav", "picture"]) $(kind).href = links[kind];
  $("files").hidden = false;
}

function showVote() {
  $("up").setAttribute("aria-pressed", mine === 1);
  $("down").setAttribute("aria-pressed", mine === -1);
}

async function vote(value) {
  try {
    const told = await ask(`${path}/votes${query}`, "POST", { value: mine === value ? 0 : value });
    mine = told.value;
    localStorage.setItem(`vote ${path}${query}`, mine);
    $("votes").value = told.votes;
    showVote();
  } catch (fault) { $("state").textContent = fault.message; }
}

async function compose() {
  let begun = false;
  await follow(`${path}/events${query}`, {
    place: (event) => { $("state").textContent = waiting(event); },
    running: () => { $("state").textContent = "Composing: bars appear as they are written."; },
    bar: (event) => {
      if (!begun) { roll.begin(evenBars(8, event.bar_steps)); begun = true; }
      roll.add(event.track, event.instrument, event.notes);
    },
  });
  show(await ask(`${path}${query}`));
}

$("up").addEventListener("click", () => vote(1));
$("down").addEventListener("click", () => vote(-1));
$("work").addEventListener("click", async () => {
  try {
    const model = new URLSearchParams(query).get("model");
    const project = await ask("/api/v1/projects/from-song", "POST", { song: Number(number), ...(model && { model }) });
    location.href = `/work/${project.key}`;
  } catch (fault) { $("state").textContent = fault.message; }
});
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const acts = { " ": () => player.toggle(), n: () => $("another").click(), u: () => vote(1), d: () => vote(-1), ArrowLeft: () => document.querySelector("[rel=prev]").click(), ArrowRight: () => document.querySelector("[rel=next]").click() };
  if (event.key === " " && /^(BUTTON|A)$/.test(event.target.tagName)) return;
  if (event.key.startsWith("Arrow") && event.target.closest(".roll")) return;
  if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
});

showVote();
const song = JSON.parse($("data").textContent);
if (song) show(song);
else compose().catch((fault) => { $("state").textContent = `Not composed: ${fault.message}`; });

import { ask, follow, waiting } from "./api.js";
import { showChoices } from "./choices.js";
import { chosenWishes } from "./options.js";

const $ = (id) => document.getElementById(id);
const { model } = $("compose").dataset;
const say = (text) => { $("state").textContent = text; };

async function act(work) {
  try { await work(); } catch (fault) { say(fault.message); }
}

$("upload").addEventListener("click", () => act(async () => {
  const file = $("file").files[0];
  if (!file) throw new Error("choose a file first");
  say("Reading.");
  const asked = new URLSearchParams({ name: file.name, model });
  const project = await ask(`/api/v1/projects?${asked}`, "POST", file, "application/octet-stream");
  location.href = `/work/${project.key}`;
}));

$("from-song").addEventListener("click", () => act(async () => {
  say("Opening.");
  const project = await ask("/api/v1/projects/from-song", "POST", { song: Number($("number").value), model });
  location.href = `/work/${project.key}`;
}));

$("from-nothing").addEventListener("click", () => act(async () => {
  const wishes = { count: 4, ...chosenWishes() };
  const job = await ask("/api/v1/compositions", "POST", { model, wishes });
  await follow(job.events, { place: (event) => say(waiting(event)), running: () => say("Composing."), bar: (event) => say(`Composing: ${event.instrument}, bar ${event.bar}.`) });
  const { versions } = await ask(`/api/v1/compositions/${job.key}`);
  say("Four pieces: keep one to work on it.");
  showChoices($("choices"), versions, (version) => { location.href = `/work/${version.project}`; });
}));

// Variations side by side: each with its roll, to hear and to keep.

import { labelInWords } from "./facts.js";
import { Player } from "./player.js";
import { Roll } from "./roll.js";

export function showChoices(place, versions, keep) {
  place.replaceChildren(...versions.map((version, index) => {
    const { facts } = version;
    const card = document.createElement("section");
    card.className = "card";
    const title = document.createElement("h3");
    title.textContent = `${index + 1}. ${[...(facts.labels ?? []).map(labelInWords), facts.key || "no key", `${facts.notes} notes`].join(", ")}`;
    const area = document.createElement("div");
    area.className = "roll";
    const controls = document.createElement("div");
    controls.className = "row";
    const play = button("Play", { do: "play" });
    const keeping = button("Keep this one");
    keeping.className = "primary";
    keeping.addEventListener("click", () => keep(version));
    controls.append(play, button("Stop", { do: "stop" }), keeping);
    card.append(title, area, controls);
    const roll = new Roll(area);
    roll.draw(facts);
    Player.of(controls, roll).load(version.links.audio, facts);
    return card;
  }));
}

export function button(text, data = {}) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  Object.assign(made.dataset, data);
  return made;
}

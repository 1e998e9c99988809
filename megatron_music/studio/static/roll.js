// A piano roll as SVG: bars across, pitch upwards, a colour a track, a playhead that moves.

import { Words, stepWidth, syllablesOf } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const VOICES = { SOPRANO: "#2e9e4f", ALTO: "#f28e2b", TENOR: "#2f6fb5", BASS: "#d13c3f", Drums: "#7d828a" };
const PALETTE = ["#4477aa", "#ee6677", "#228833", "#ccaa22", "#66ccee", "#aa3377", "#ee8866", "#44bb99", "#8866cc", "#886600"];
const HEIGHT = 240;
const MOST_WIDTH_PX = 32_000;

function shape(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

export function colourOf(instrument, index) {
  return VOICES[instrument] ?? PALETTE[index % PALETTE.length];
}

export function evenBars(bars, steps) {
  return Array.from({ length: bars + 1 }, (_, bar) => bar * steps);
}

export class Roll {
  // `marking(firstBar, lastBar)` is called when a person drags over bars, counted from 1.
  constructor(place, { marking = null } = {}) {
    this.place = place;
    this.svg = shape("svg", { preserveAspectRatio: "none", role: "img" });
    this.lane = document.createElement("div");
    this.lane.append(this.svg);
    this.legend = document.createElement("div");
    this.legend.className = "legend";
    this.words = [];
    place.replaceChildren(this.lane, this.legend);
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Piano roll");
    if (marking) this.#listen(marking);
  }

  // Draws a piece: its facts as the API gives them.
  draw(facts) {
    const names = facts.tracks.map((track) => track.name ?? track.instrument);
    // Songs kept by earlier versions do not say where their bars begin: those were all in 4/4.
    const starts = facts.bar_starts ?? evenBars(facts.bars, facts.steps_per_bar);
    this.begin(starts, this.#range(facts.notes_by_track));
    facts.notes_by_track.forEach((notes, index) => this.add(index, facts.tracks[index].instrument, notes, names[index]));
    this.svg.setAttribute("aria-label", `Piano roll: ${facts.bars} bars, ${names.join(", ")}`);
    (facts.new_bars ?? []).forEach((track) => this.#shade(track.bars));
    this.#sing(facts, names);
  }

  // Puts the syllables under their notes; the piece is drawn as wide as they need.
  #sing(facts, names) {
    const sung = (facts.syllables_by_track ?? []).map((syllables, index) => syllablesOf(facts.notes_by_track[index], syllables));
    this.words = sung.flatMap((one, index) => (one.length ? [new Words(one, this.total, names[index])] : []));
    const step_px = Math.max(0, ...sung.map((one) => stepWidth(one, facts.steps_per_bar / 4)));
    this.lane.style.minWidth = step_px ? `${Math.min(MOST_WIDTH_PX, Math.ceil(this.total * step_px))}px` : "";
    this.lane.replaceChildren(this.svg, ...this.words.map((one) => one.row));
    this.place.replaceChildren(this.lane, ...this.words.map((one) => one.line), this.legend);
    // What can be scrolled can be reached by the keyboard.
    this.place.tabIndex = this.place.scrollWidth > this.place.clientWidth ? 0 : -1;
  }

  #range(notesByTrack) {
    const pitches = notesByTrack.flat().map((note) => note[2]);
    return [Math.min(55, ...pitches) - 2, Math.max(67, ...pitches) + 2];
  }

  // Begins an empty roll; `starts` has the step at which each bar begins, and the last one's end.
  begin(starts, [low, high] = [34, 84]) {
    Object.assign(this, { starts, bars: starts.length - 1, low, high, total: starts.at(-1) });
    this.svg.replaceChildren();
    this.legend.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${this.total} ${HEIGHT}`);
    this.ground = shape("g", {}, this.svg);
    for (let bar = 2; bar <= this.bars; bar += 2) this.#bar(this.ground, bar, "var(--beat)");
    this.shades = shape("g", {}, this.svg);
    this.marks = shape("g", {}, this.svg);
    for (const step of starts.slice(1, -1)) {
      shape("line", { x1: step, x2: step, y1: 0, y2: HEIGHT, stroke: "var(--line)", "vector-effect": "non-scaling-stroke" }, this.ground);
    }
    this.notes = shape("g", {}, this.svg);
    this.head = shape("line", { y1: 0, y2: HEIGHT, stroke: "var(--ink)", "stroke-width": 2, "vector-effect": "non-scaling-stroke", visibility: "hidden" }, this.svg);
    this.known = new Set();
  }

  // Adds notes [onset, end, pitch] of a track.
  add(index, instrument, notes, name = instrument) {
    const colour = colourOf(instrument, index);
    if (!this.known.has(index)) {
      this.known.add(index);
      const entry = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = colour;
      entry.append(dot, name);
      this.legend.append(entry);
    }
    const height = HEIGHT / (this.high - this.low + 1);
    for (const [onset, end, pitch] of notes) {
      shape("rect", { x: onset, y: (this.high - pitch) * height, width: Math.max(0.3, end - onset - 0.15), height: height * 0.9, fill: colour, rx: 0.2 }, this.notes);
    }
  }

  #shade(bars) {
    for (const bar of bars ?? []) this.#bar(this.shades, bar, "var(--new)");
  }

  #bar(group, bar, fill, opacity = 1) {
    const [begin, end] = this.starts.slice(bar - 1, bar + 1);
    shape("rect", { x: begin, y: 0, width: end - begin, height: HEIGHT, fill, opacity }, group);
  }

  // Shows which bars (a Set, from 1) are marked.
  mark(bars) {
    this.marks.replaceChildren();
    for (const bar of bars) this.#bar(this.marks, bar, "var(--accent)", 0.25);
  }

  // Moves the playhead; null hides it.
  playhead(step) {
    if (!this.head) return;
    const shown = step !== null && step <= this.total;
    this.head.setAttribute("visibility", shown ? "visible" : "hidden");
    for (const words of this.words) words.show(shown ? step : null);
    if (shown) {
      this.head.setAttribute("x1", step);
      this.head.setAttribute("x2", step);
      this.#follow(step);
    }
  }

  // Scrolls a piece that is wider than the page, so that the playhead stays in sight.
  #follow(step) {
    const { place, svg } = this;
    const x = (step / this.total) * svg.clientWidth - place.scrollLeft;
    if (x < 0 || x > 0.8 * place.clientWidth) place.scrollLeft += x - 0.2 * place.clientWidth;
  }

  #listen(marking) {
    let first = null;
    const barAt = (event) => {
      const box = this.svg.getBoundingClientRect();
      const step = ((event.clientX - box.left) / box.width) * this.total;
      const next = this.starts.findIndex((start) => start > step);
      return next < 0 ? this.bars : Math.max(1, next);
    };
    this.svg.addEventListener("pointerdown", (event) => { first = barAt(event); this.svg.setPointerCapture(event.pointerId); });
    this.svg.addEventListener("pointerup", (event) => {
      if (first === null) return;
      const last = barAt(event);
      marking(Math.min(first, last), Math.max(first, last));
      first = null;
    });
    this.svg.addEventListener("pointercancel", () => { first = null; });
  }
}

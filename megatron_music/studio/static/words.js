// The words of a song: each syllable under its note, and the line that is being sung.

const MARKS = { " ": "word", "\n": "line", "\f": "verse" };
const LETTER_PX = 8;
const GAP_PX = 8;
const MOST_QUARTER_PX = 240;
const FITTING_SHARE = 0.9;

// Returns the syllables of a track: when each begins and ends, its text, and where its line begins.
export function syllablesOf(notes, syllables) {
  const sung = [];
  let line = 0;
  syllables.forEach((syllable, index) => {
    if (!syllable) return;
    const [onset, end] = notes[index];
    const mark = MARKS[syllable.at(-1)];
    const text = mark ? syllable.slice(0, -1) : `${syllable}-`;
    sung.push({ onset, end, text, line, isWordEnd: Boolean(mark) });
    if (mark === "line" || mark === "verse") line += 1;
  });
  sung.sort((one, other) => one.onset - other.onset);
  // A syllable is sung until the next begins, on further notes, too.
  sung.forEach((one, index) => { one.until = Math.max(one.end, Math.min(sung[index + 1]?.onset ?? one.end, one.end + 48)); });
  return sung;
}

// Returns the pixels a step needs for most syllables not to lie over the next.
export function stepWidth(sung, stepsPerQuarter) {
  const needed = sung.slice(1).flatMap(({ onset }, index) => {
    const { text, onset: before } = sung[index];
    return onset > before ? [(text.length * LETTER_PX + GAP_PX) / (onset - before)] : [];
  }).sort((one, other) => one - other);
  return Math.min(MOST_QUARTER_PX / stepsPerQuarter, needed[Math.floor(FITTING_SHARE * needed.length)] ?? 0);
}

export class Words {
  // `sung` as syllablesOf gives it, `total` the steps of the piece.
  constructor(sung, total, name) {
    this.sung = sung;
    this.row = document.createElement("div");
    this.row.className = "words";
    this.row.setAttribute("role", "group");
    this.row.setAttribute("aria-label", `Words of ${name}`);
    this.marks = sung.map(({ onset, text }) => {
      const made = document.createElement("span");
      made.textContent = text;
      made.style.left = `${(100 * onset) / total}%`;
      this.row.append(made);
      return made;
    });
    this.line = document.createElement("p");
    this.line.className = "line";
    this.line.setAttribute("aria-hidden", "true");
    this.show(0);
  }

  // Shows what is sung at a step; null shows the first line.
  show(step) {
    const before = this.sung.findLastIndex(({ onset }) => step !== null && onset <= step);
    const now = before >= 0 && step < this.sung[before].until ? before : -1;
    if (now === this.now && before === this.before) return;
    this.marks[this.now]?.classList.remove("now");
    this.marks[now]?.classList.add("now");
    Object.assign(this, { now, before });
    const { line } = this.sung[Math.max(0, before)];
    this.line.replaceChildren(...this.sung.flatMap((one, index) => {
      if (one.line !== line) return [];
      const made = document.createElement(index === now ? "mark" : "span");
      made.textContent = one.isWordEnd ? one.text : one.text.slice(0, -1);
      return one.isWordEnd ? [made, " "] : [made];
    }));
  }
}

// Plays a piece from its MP3 and moves the playhead of its roll.

// Returns the step that sounds at a time; tempi change from bar to bar.
function stepAt(seconds, facts) {
  const { bar_starts: steps, bar_starts_s: times } = facts;
  // Songs kept by earlier versions have one tempo and do not say when their bars sound.
  if (!times) return (seconds * facts.tempo_bpm * facts.steps_per_bar) / 4 / 60;
  const next = times.findIndex((time) => time > seconds);
  if (next < 1) return next ? steps.at(-1) + 1 : 0;
  const share = (seconds - times[next - 1]) / (times[next] - times[next - 1]);
  return steps[next - 1] + share * (steps[next] - steps[next - 1]);
}

export class Player {
  constructor(controls, roll) {
    this.roll = roll;
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.audio.volume = 0.8;
    this.controls = controls;
    this.#on("play", "click", () => this.toggle());
    this.#on("stop", "click", () => this.stop());
    this.#on("loop", "change", (input) => { this.audio.loop = input.checked; });
    this.#on("volume", "input", (input) => { this.audio.volume = Number(input.value); });
    this.#on("speed", "change", (input) => { this.audio.playbackRate = Number(input.value); });
    for (const event of ["play", "pause", "ended"]) this.audio.addEventListener(event, () => this.#show());
    this.audio.addEventListener("error", () => { if (this.audio.src) this.#part("play").textContent = "No sound"; });
  }

  #part(name) { return this.controls?.querySelector(`[data-do="${name}"]`); }

  #on(name, event, act) { this.#part(name)?.addEventListener(event, (happened) => act(happened.target)); }

  // Loads a piece: where its sound is, and its facts.
  load(audio, facts) {
    this.stop();
    this.facts = facts;
    const speed = this.audio.playbackRate;
    this.audio.src = audio;
    this.audio.playbackRate = speed;
    for (const name of ["play", "stop"]) { const part = this.#part(name); if (part) part.disabled = false; }
  }

  async toggle() {
    if (!this.audio.src) return;
    if (!this.audio.paused) { this.audio.pause(); return; }
    for (const other of Player.all) if (other !== this) other.audio.pause();
    const play = this.#part("play");
    if (play) play.textContent = "Loading";
    try { await this.audio.play(); } catch { this.#show(); }
  }

  stop() {
    this.audio.pause();
    if (this.audio.src) this.audio.currentTime = 0;
    this.roll?.playhead(null);
    this.#show();
  }

  #show() {
    const play = this.#part("play");
    if (play) play.textContent = this.audio.paused ? "Play" : "Pause";
    if (!this.audio.paused) this.#follow();
  }

  #follow() {
    const seconds = this.audio.currentTime;
    this.roll?.playhead(stepAt(seconds, this.facts));
    const time = this.controls?.querySelector(".time");
    if (time) time.value = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    if (!this.audio.paused) requestAnimationFrame(() => this.#follow());
  }

  static all = new Set();

  static of(controls, roll) {
    const player = new Player(controls, roll);
    Player.all.add(player);
    return player;
  }
}

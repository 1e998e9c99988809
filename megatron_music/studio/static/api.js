// Asks the studio's API; errors carry the sentence that the server says.

export async function ask(path, method = "GET", body = undefined, type = "application/json") {
  const sent = body === undefined ? {} : { body: type === "application/json" ? JSON.stringify(body) : body, headers: { "content-type": type } };
  let answer;
  try { answer = await fetch(path, { method, ...sent }); } catch { throw new Error("the studio does not answer; is it still running?"); }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail ?? `the studio answered ${answer.status}`);
  return told;
}

// Follows a composition: `bar(event)` for each bar, `place(event)` while it waits; resolves at its end.
export function follow(path, { bar = () => {}, place = () => {}, running = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(path);
    const listen = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    listen("bar", bar);
    listen("place", place);
    listen("running", running);
    listen("done", () => { source.close(); resolve(); });
    for (const name of ["failed", "cancelled"]) {
      listen(name, (event) => { source.close(); reject(new Error(event.reason || name)); });
    }
    let failures = 0;
    source.onerror = async () => {
      failures += 1;
      if (failures <= 5 && source.readyState !== EventSource.CLOSED) return;
      source.close();
      reject(await refusal(path));
    };
  });
}

// Says why events were refused, which an EventSource does not tell.
async function refusal(path) {
  const given = new AbortController();
  try {
    const answer = await fetch(path, { signal: given.signal });
    if (!answer.ok) return new Error((await answer.json()).detail);
  } catch { /* it does not answer at all */ } finally { given.abort(); }
  return new Error("the studio stopped answering");
}

export function waiting({ before, estimate_s: estimate }) {
  if (!before) return "Composing.";
  return `Waiting: ${before} before you, about ${Math.ceil(estimate)} s.`;
}

export function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
}

// The stream of the server, and requests to it.

const KEY = "rumor-token";

/** The token comes once, behind the # of the address, and is kept for this tab alone. */
export function takeToken() {
  const given = decodeURIComponent(location.hash.slice(1));
  if (/^[0-9a-f]{16,}$/i.test(given)) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

export const mayChange = () => sessionStorage.getItem(KEY) !== null;

async function problem(answer) {
  try { return (await answer.json()).detail; } catch { return `${answer.status} ${answer.statusText}`; }
}

/** Sends a GET request; throws the explanation of the server if it fails. */
export async function ask(path) {
  const answer = await fetch(path, { headers: headers() });
  if (!answer.ok) throw new Error(await problem(answer));
  return answer.json();
}

export async function send(path, body) {
  const answer = await fetch(path, { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(await problem(answer));
  return answer.status === 202 || answer.status === 204 ? null : answer.json();
}

/** Reads /v1/network/live for ever: `on(name, data)` for each item, `state(word, why)` for the link. */
export async function follow(on, state) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const answer = await fetch("/v1/network/live", { headers: headers({ Accept: "text/event-stream" }) });
      if (!answer.ok) throw new Error(await problem(answer));
      state("live");
      wait = 250;
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader(), on);
      state("lost", "the server ended the stream");
    } catch (e) {
      state("lost", e.message);
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function read(reader, on) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      let name = "message", data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data += line.slice(5).trim();
      }
      if (data) on(name, JSON.parse(data));
    }
  }
}

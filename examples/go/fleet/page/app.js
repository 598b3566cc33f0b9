// The page: what the fleet does, as a front tells it, and a form for more.

const element = (id) => document.getElementById(id);
const jobs = new Map(); // by id, as the front sees them
let key = sessionStorage.getItem("key") ?? "";

function headers(more = {}) {
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// make builds an element: make("p", { className: "quiet" }, "text", child).
function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const seconds = (from, to) => Math.max(0, (new Date(to) - new Date(from)) / 1000);
const spoken = (s) => (s < 10 ? `${s.toFixed(1)} s` : s < 100 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`);

// ---- Clips. Each has one card for its whole life, so that a video that plays goes on playing.

const cards = new Map();

function button(text, label, press) {
  const made = make("button", { className: "small", type: "button", ariaLabel: label }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await press();
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

async function call(method, path) {
  const response = await fetch(path, { method, headers: headers() });
  const value = await response.json();
  if (!response.ok) return fail(value.error.message);
  if (value.id) see(value);
}

const cancelButton = (job) => button("Cancel", `Cancel ${job.request.prompt}`, () => call("DELETE", `jobs/${job.id}`));

function runningCard(job) {
  const card = make("article", { className: "card clip" });
  card.dataset.id = job.id;
  const image = make("img", { alt: "The newest picture of the clip", hidden: true });
  const wait = make("span", {}, "no picture yet");
  const bar = make("progress", { max: 100, value: 0, ariaLabel: "Progress" });
  const stage = make("span", { className: "stage" });
  card.append(
    make("div", { className: "screen" }, image, wait),
    make("div", { className: "text" }, make("div", { className: "prompt" }, job.request.prompt), bar,
      make("div", { className: "foot" }, stage, cancelButton(job))),
  );
  return {
    card,
    update(now) {
      if (now.preview && image.src !== now.preview) {
        image.src = now.preview;
        image.hidden = false;
        wait.hidden = true;
      }
      const p = now.progress;
      if (p) bar.value = 100 * p.fraction;
      stage.textContent = now.cancelling ? "stopping …" : p ? `${p.stage} ${p.done} / ${p.total} · ${now.worker}` : `begun on ${now.worker}`;
    },
  };
}

async function load(path) {
  const response = await fetch(path, { headers: headers() });
  if (!response.ok) throw new Error(response.statusText);
  return URL.createObjectURL(await response.blob());
}

const failedWords = { failed: "failed", cancelled: "cancelled" };

function endedCard(job) {
  const card = make("article", { className: "card clip" });
  card.dataset.id = job.id;
  const screen = make("div", { className: "screen" });
  const foot = make("div", { className: "foot" });
  if (job.state === "done") {
    const image = make("img", { alt: "The last picture of the clip" });
    const play = make("button", { type: "button", ariaLabel: `Play ${job.request.prompt}` }, "Play");
    screen.append(image, play);
    if (job.last_preview) load(job.last_preview).then((at) => (image.src = at), () => {});
    play.addEventListener("click", async () => {
      play.disabled = true;
      try {
        const at = await load(job.video);
        const video = make("video", { src: at, controls: true, loop: true, muted: true, playsInline: true });
        screen.replaceChildren(video);
        video.play().catch(() => {});
        foot.append(make("a", { href: at, download: `${job.id}.mp4` }, "mp4"));
      } catch (error) {
        screen.replaceChildren(make("span", {}, `It cannot be had: ${error.message}`));
      }
    });
    foot.append(make("span", {}, `${spoken(job.result.seconds)} on ${job.worker}, seed ${job.result.seed}`));
  } else {
    screen.classList.add("none");
    screen.append(make("span", {}, failedWords[job.state] ?? job.state));
    foot.append(make("span", {}, job.error?.message ?? ""));
  }
  card.append(screen, make("div", { className: "text" }, make("div", { className: "prompt" }, job.request.prompt), foot));
  return { card, update() {} };
}

// ---- The lists.

const most = 60; // finished clips that are shown

function order(container, wanted) {
  wanted.forEach((node, i) => {
    if (container.children[i] !== node) container.insertBefore(node, container.children[i] ?? null);
  });
  while (container.children.length > wanted.length) container.lastChild.remove();
}

function cardOf(job, build) {
  let known = cards.get(job.id);
  if (!known || known.state !== job.state) {
    known = { ...build(job), state: job.state };
    cards.set(job.id, known);
  }
  known.update(job);
  return known.card;
}

function draw() {
  const by = (state) => [...jobs.values()].filter((j) => j.state === state);
  const byTime = (field) => (a, b) => new Date(a[field]) - new Date(b[field]);
  const running = by("running").sort(byTime("started"));
  const queued = by("queued").sort(byTime("submitted"));
  const dead = by("dead").sort(byTime("ended"));
  const ended = [...jobs.values()].filter((j) => ["done", "failed", "cancelled"].includes(j.state))
    .sort((a, b) => byTime("ended")(b, a)).slice(0, most);

  order(element("running"), running.map((j) => cardOf(j, runningCard)));
  order(element("done"), ended.map((j) => cardOf(j, endedCard)));
  const line = (job, text, ...buttons) => cardOf(job, () => {
    const small = make("small");
    const li = make("li", {}, make("span", {}, make("span", { className: "prompt" }, job.request.prompt), small), make("span", {}, ...buttons));
    li.dataset.id = job.id;
    return { card: li, update: (now) => (small.textContent = text(now)) };
  });
  order(element("queue"), queued.map((j, i) => line(j, () => `${i === 0 ? "next in line" : `${i} before it`} · ${j.model}${j.attempts ? ` · begun ${j.attempts} times` : ""}`, cancelButton(j))));
  order(element("dead"), dead.map((j) => line(j, (now) => `begun ${now.attempts} times: ${now.error?.message ?? ""}`,
    button("Try again", `Try again ${j.request.prompt}`, () => call("POST", `jobs/${j.id}/retry`)),
    button("Drop", `Drop ${j.request.prompt}`, () => call("DELETE", `jobs/${j.id}`)))));

  element("no-running").hidden = running.length > 0;
  element("no-queue").hidden = queued.length > 0;
  element("no-done").hidden = ended.length > 0;
  element("dead-section").hidden = dead.length === 0;
}

let drawing = false;
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function see(job) {
  const known = jobs.get(job.id);
  // The answer to a click and the stream may cross.
  if (known && ["done", "failed"].includes(known.state) && ["queued", "running"].includes(job.state)) return;
  jobs.set(job.id, job);
  drawSoon();
}

function showFleet(fleet) {
  const count = (state) => fleet.states[state] ?? 0;
  element("n-queued").textContent = count("queued");
  element("n-running").textContent = count("running");
  element("n-done").textContent = count("done");
  element("n-failed").textContent = count("failed") + count("dead");
  element("n-workers").textContent = fleet.workers.length;
  const sum = (field) => fleet.workers.reduce((n, w) => n + w[field], 0);
  element("n-slots").textContent = `${sum("busy")} / ${sum("slots")}`;
  element("where").textContent = `front ${fleet.front}, server ${fleet.server}, library ${fleet.library}`;

  element("workers").replaceChildren(...fleet.workers.map((w) => make("li", {},
    make("span", {}, make("strong", {}, w.name),
      make("small", {}, `${w.model}, ${w.task}`),
      ...w.devices.map((d) => make("small", {}, `${d.device} ${d.name}, ${(d.memory / 2 ** 30).toFixed(1)} GiB, up to ${Math.max(...d.sizes)}× the model's video`))),
    make("span", { className: "busy" }, w.draining ? "ending" : `${w.busy} of ${w.slots} · made ${w.made}`))));
  element("no-workers").hidden = fleet.workers.length > 0;

  const names = [...new Set(Object.values(fleet.models).map((m) => m.name))].sort();
  const select = element("model");
  if (names.join() !== [...select.options].map((o) => o.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...names.map((n) => make("option", { value: n }, n)));
    if (names.includes(chosen)) select.value = chosen;
  }
  element("steps").max = fleet.max_steps;
  if (!element("prompt").value && !document.body.dataset.ready) element("prompt").value = fleet.example;
  document.body.dataset.ready = "true";
}

// ---- The stream. (EventSource cannot send a key.)

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const event = { name: "message", data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      if (event.data) yield { name: event.name, data: JSON.parse(event.data) };
    }
  }
}

function link(text, live) {
  element("link").textContent = text;
  element("link").classList.toggle("live", live);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Follows the fleet for ever. A front that is gone may come back, or another stand in its place.
async function follow() {
  for (;;) {
    try {
      const response = await fetch("events", { headers: headers() });
      if (response.status === 401) {
        await askForKey(key !== "");
        continue;
      }
      if (!response.ok) throw new Error(response.statusText);
      link("live", true);
      const before = new Set(jobs.keys());
      let first = true;
      for await (const { name, data } of eventsOf(response)) {
        if (name === "job") {
          before.delete(data.id);
          see(data);
        } else if (name === "gone") {
          jobs.delete(data.id);
          cards.delete(data.id);
          drawSoon();
        } else if (name === "fleet") {
          // All that there is has come before the first of these.
          if (first) before.forEach((id) => jobs.delete(id));
          first = false;
          showFleet(data);
          drawSoon();
        }
      }
    } catch {
      // Told below.
    }
    link("looking for the front again …", false);
    await sleep(500);
  }
}

function askForKey(wrong) {
  element("key-form").hidden = false;
  element("key-error").hidden = !wrong;
  element("key-error").textContent = "That key is not known.";
  link("waiting for a key", false);
  return new Promise((entered) => {
    element("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      key = element("key").value;
      sessionStorage.setItem("key", key);
      element("key-form").hidden = true;
      entered();
    }, { once: true });
  });
}

// ---- The form.

function fail(message) {
  element("error").textContent = message;
  element("error").hidden = false;
}

// An id that is the same for each try: a request that is sent twice is one job. (crypto.randomUUID
// is not there where the page does not come over TLS.)
function idempotencyKey() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join("");
}

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const number = (id) => (element(id).value.trim() === "" ? undefined : Number(element(id).value));
  const body = JSON.stringify({
    model: element("model").value || undefined,
    prompt: element("prompt").value,
    steps: number("steps"),
    seed: number("seed"),
    cache: { technique: element("technique").value },
  });
  element("submit").disabled = true;
  element("error").hidden = true;
  const id = idempotencyKey();
  try {
    for (let tries = 0; ; tries++) {
      try {
        const response = await fetch("jobs", {
          method: "POST", body, headers: headers({ "Content-Type": "application/json", "Idempotency-Key": id }),
        });
        const value = await response.json();
        if (response.ok) {
          see(value);
        } else {
          const retry = response.headers.get("Retry-After");
          fail(value.error.message + (retry ? `. Try again in ${retry} s.` : ""));
        }
        return;
      } catch (error) {
        if (tries === 5) return fail(`The front cannot be reached: ${error.message}`);
        await sleep(500);
      }
    }
  } finally {
    element("submit").disabled = false;
  }
});

follow();

// The page: sends the form, follows the stream of events, shows the video.

const element = (id) => document.getElementById(id);
const form = element("form");
const progress = element("progress");

// What the run under way is stopped with; null while there is none.
let running = null;

function show(status) {
  element("status").textContent = status;
}

function fail(message) {
  element("error").textContent = message;
  element("error").hidden = false;
  show("Nothing was made.");
}

function setRunning(controller) {
  running = controller;
  element("generate").disabled = Boolean(controller);
  element("cancel").disabled = !controller;
  form.setAttribute("aria-busy", String(Boolean(controller)));
}

// Only one of the picture, the video and the empty screen is to be seen.
function screen(id) {
  for (const other of ["preview", "video", "empty"]) element(other).hidden = other !== id;
}

function readForm() {
  const number = (id) => (element(id).value.trim() === "" ? undefined : Number(element(id).value));
  return {
    prompt: element("prompt").value,
    steps: number("steps"),
    seed: number("seed"),
    guidance: number("guidance"),
    cache: { technique: form.elements.technique.value },
  };
}

// Reads a stream of server-sent events. (EventSource cannot POST.)
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

const stages = {
  load: "Reading weights",
  encode: "Reading the prompt",
  denoise: "Denoising, step",
  decode: "Decoding, part",
};

const handlers = {
  queued({ ahead }) {
    show(ahead === 0 ? "Waiting: next in line." : `Waiting: ${ahead} before you.`);
  },
  progress({ stage, done, total, fraction }) {
    progress.value = 100 * fraction;
    const counted = stage === "denoise" || stage === "decode";
    show(counted ? `${stages[stage]} ${done} of ${total}` : `${stages[stage] ?? stage} …`);
  },
  frames({ decoded, total, preview }) {
    element("preview").src = preview;
    screen("preview");
    show(`Decoded frame ${decoded} of ${total}`);
  },
  done(result) {
    progress.value = 100;
    const video = element("video");
    video.src = result.mp4;
    screen("video");
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
    element("mp4").href = result.mp4;
    element("gif").href = result.gif;
    element("links").hidden = false;
    const faster = result.speed_up > 1.005 ? `, steps about ${result.speed_up.toFixed(2)}× as fast` : "";
    show(`Done in ${result.seconds.toFixed(1)} s: ${result.frames} frames, seed ${result.seed}${faster}.`);
  },
  error({ message }) {
    progress.value = 0;
    screen("empty");
    fail(message);
  },
};

async function generate() {
  const controller = new AbortController();
  setRunning(controller);
  element("error").hidden = true;
  element("links").hidden = true;
  element("video").removeAttribute("src");
  screen("empty");
  progress.value = 0;
  element("empty").textContent = "The picture comes when frames are decoded.";
  show("Asking …");
  let last = "";
  try {
    const response = await fetch("videos", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(readForm()),
      signal: controller.signal,
    });
    if (!response.ok) {
      const { error } = await response.json();
      const retry = response.headers.get("Retry-After");
      fail(error.message + (retry ? `. Try again in ${retry} s.` : ""));
      return;
    }
    for await (const event of eventsOf(response)) {
      last = event.name;
      handlers[event.name]?.(event.data);
    }
    if (last !== "done" && last !== "error") throw new Error("the connection ended early");
  } catch (error) {
    progress.value = 0;
    screen("empty");
    if (controller.signal.aborted) show("Cancelled.");
    else fail(`The service cannot be reached: ${error.message}`);
  } finally {
    element("empty").textContent = "Nothing yet.";
    setRunning(null);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) generate();
});

element("cancel").addEventListener("click", () => running?.abort());

// What the model does by itself.
try {
  const model = await (await fetch("model")).json();
  element("model").textContent =
    `${model.family}; ${model.width}×${model.height}, ${model.frames} frames, on ${model.device}`;
  element("steps").value = model.steps;
  element("steps").max = model.max_steps;
  element("guidance").value = model.guidance;
  if (!element("prompt").value) element("prompt").value = model.example;
} catch (error) {
  element("model").textContent = "";
  fail(`The service cannot be reached: ${error.message}`);
}
document.body.dataset.ready = "true";

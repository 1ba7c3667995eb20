"use strict";
const $ = id => document.getElementById(id);
const study = JSON.parse($("study").textContent);
const KEY = `mrigen reader study ${study.study} reader ${study.reader}`;
const FULL = { level: 127.5, width: 255, zoom: 1, x: 0, y: 0 };
const shown = document.createElement("canvas");
let state = { started: "", answers: [], seconds: 0, draft: {} };
let look = { ...FULL }, pixels = null, running = false, last = 0, grip = null;

// Whatever happens is kept at once, so that a closed page loses nothing. Where a browser keeps nothing, it is said.
function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    complain("This browser keeps nothing for this page: do not close it before the answers are saved.");
  }
}

function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    if (found) state = found;
  } catch {
    complain("This browser keeps nothing for this page: do not close it before the answers are saved.");
  }
}

function complain(text) {
  $("fault").textContent = text;
  $("fault").hidden = false;
}

// The clock counts while the image is seen: not in a pause, not behind another tab.
function tick() {
  const now = performance.now();
  if (running) state.seconds += (now - last) / 1000;
  last = now;
  const whole = Math.floor(state.seconds);
  $("clock").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function run(on) {
  tick();
  running = on;
  $("view").style.visibility = on ? "visible" : "hidden";
  $("pause").textContent = on ? "Pause" : "Go on";
  check();
  keep();
}

function unpack(text) {
  const bytes = atob(text), levels = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) levels[i] = bytes.charCodeAt(i);
  return levels;
}

function paint() {
  const { width, height } = study, image = new ImageData(width, height), low = look.level - look.width / 2;
  for (let i = 0; i < pixels.length; i++) {
    const grey = (pixels[i] - low) / look.width * 255;
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  shown.width = width;
  shown.height = height;
  shown.getContext("2d").putImageData(image, 0, 0);
  const view = $("view"), context = view.getContext("2d");
  const scale = look.zoom * Math.min(view.width / width, view.height / height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#000";
  context.fillRect(0, 0, view.width, view.height);
  context.drawImage(shown, (view.width - width * scale) / 2 + look.x, (view.height - height * scale) / 2 + look.y,
    width * scale, height * scale);
  $("window").textContent =
    `Level ${Math.round(look.level)}, window ${Math.round(look.width)}, zoom ${look.zoom.toFixed(1)}.`;
}

function bounded(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function change(level, width, factor = 1, x = 0, y = 0) {
  const zoom = bounded(look.zoom * factor, 1, 12), room = 512 * zoom;
  const by = zoom / look.zoom;
  look = {
    level: bounded(look.level + level, 0, 255), width: bounded(look.width + width, 4, 510), zoom,
    x: zoom === 1 ? 0 : bounded(look.x * by + x, -room, room), y: zoom === 1 ? 0 : bounded(look.y * by + y, -room, room),
  };
  paint();
}

function reset() {
  look = { ...FULL };
  paint();
}

function read() {
  const form = new FormData($("form")), draft = { comment: $("comment").value };
  for (const name of ["answer", "confidence", ...study.asked]) if (form.has(name)) draft[name] = form.get(name);
  return draft;
}

function check() {
  const draft = read();
  $("next").disabled = !running || ["answer", "confidence", ...study.asked].some(name => !(name in draft));
}

function show() {
  const position = state.answers.length;
  $("start").hidden = true;
  $("work").hidden = position === study.images.length;
  $("end").hidden = !$("work").hidden;
  if (!$("end").hidden) {
    running = false;
    const minutes = state.answers.reduce((sum, one) => sum + one.seconds, 0) / 60;
    $("total").textContent = `${position} images in ${minutes.toFixed(0)} minutes.`;
    return;
  }
  $("place").textContent = `Image ${position + 1} of ${study.images.length}`;
  $("progress").value = position;
  $("form").reset();
  $("comment").value = state.draft.comment || "";
  for (const [name, value] of Object.entries(state.draft))
    for (const input of document.getElementsByName(name)) input.checked = input.value === value;
  pixels = unpack(study.images[position]);
  reset();
  last = performance.now();
  run(true);
  $("view").focus();
}

function next() {
  check();
  if ($("next").disabled) return;
  tick();
  const draft = read();
  state.answers.push({
    ...draft, position: state.answers.length, confidence: Number(draft.confidence),
    seconds: Math.round(state.seconds * 100) / 100,
  });
  state.seconds = 0;
  state.draft = {};
  keep();
  show();
}

function save() {
  const content = { study: study.study, reader: study.reader, started: state.started, answers: state.answers };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
  link.download = `reader-${study.reader}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const KEYS = {
  c: () => $("comment").focus(), p: () => run(!running), 0: reset,
  "+": () => change(0, 0, 1.25), "=": () => change(0, 0, 1.25), "-": () => change(0, 0, 0.8),
  ArrowUp: () => change(-6, 0), ArrowDown: () => change(6, 0), ArrowLeft: () => change(0, 12), ArrowRight: () => change(0, -12),
};

for (const input of document.querySelectorAll("[data-key]"))
  KEYS[input.dataset.key] = () => { input.checked = true; $("form").dispatchEvent(new Event("input")); };

document.addEventListener("keydown", event => {
  if ($("work").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("comment")) {
    if (event.key === "Escape") $("view").focus();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Enter" && event.target.type !== "button") {
    event.preventDefault();
    if (!event.repeat) next();
  } else if (key in KEYS) {
    event.preventDefault();
    KEYS[key]();
  }
});

$("view").addEventListener("pointerdown", event => {
  grip = event;
  $("view").setPointerCapture(event.pointerId);
});
$("view").addEventListener("pointermove", event => {
  if (!grip) return;
  const x = event.clientX - grip.clientX, y = event.clientY - grip.clientY, scale = $("view").width / $("view").clientWidth;
  grip = event;
  if (event.shiftKey || event.buttons & 6) change(0, 0, 1, x * scale, y * scale);
  else change(y / 2, -x);
});
for (const name of ["pointerup", "pointercancel"]) $("view").addEventListener(name, () => { grip = null; });
$("view").addEventListener("wheel", event => {
  event.preventDefault();
  change(0, 0, event.deltaY < 0 ? 1.15 : 1 / 1.15);
}, { passive: false });
$("view").addEventListener("dblclick", reset);
$("view").addEventListener("contextmenu", event => event.preventDefault());
$("form").addEventListener("input", () => { state.draft = read(); check(); keep(); });
$("form").addEventListener("submit", event => { event.preventDefault(); next(); });
$("pause").addEventListener("click", () => run(!running));
$("save").addEventListener("click", save);
$("early").addEventListener("click", save);
$("begin").addEventListener("click", () => {
  if (!state.started) state.started = new Date().toISOString();
  show();
});
document.addEventListener("visibilitychange", () => { if (!$("work").hidden) run(!document.hidden); });
setInterval(() => { if (running) { tick(); keep(); } }, 1000);

recall();
if (state.answers.length) $("begin").textContent = `Go on at image ${state.answers.length + 1}`;
if (state.answers.length === study.images.length) show();

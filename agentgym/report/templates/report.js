"use strict";
// Everything that moves on the page. Data is in JSON next to what it belongs to; text is set as text.

const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);

for (const figure of document.querySelectorAll(".curve")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor"), readout = figure.querySelector(".readout");
  const [width, left, right] = [svg.viewBox.baseVal.width, 44, 10];
  const groups = [...svg.querySelectorAll("g")];
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * width;
    const x = data.x[0] + (at - left) / (width - left - right) * (data.x[1] - data.x[0]);
    const shown = data.lines.filter((line, index) => groups[index].style.display !== "none").map(line => nearest(line.points, x));
    if (!shown.length) return;
    const point = nearest(shown, x);
    const place = left + (point[0] - data.x[0]) / (data.x[1] - data.x[0]) * (width - left - right);
    cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.style.visibility = "visible";
    readout.textContent = `${point[0].toLocaleString("en")}: ${shown.map(value => value[2]).join(" · ")}`;
  });
  svg.addEventListener("pointerleave", () => { cursor.style.visibility = "hidden"; readout.textContent = ""; });
}

for (const button of document.querySelectorAll("[data-toggle]")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    const off = new Set([...document.querySelectorAll('[data-toggle][aria-pressed="false"]')].map(each => each.dataset.toggle + each.dataset.value));
    for (const group of document.querySelectorAll(".curves .curve g"))
      group.style.display = off.has("run" + group.dataset.run) || off.has("label" + group.dataset.label) ? "none" : "";
  });
}

class VideoPlayer {
  constructor(element) {
    this.element = element;
    this.data = JSON.parse(element.querySelector("script").textContent);
    this.last = this.data.actions.length;
    this.slider = element.querySelector("input");
    this.button = element.querySelector("button");
    this.chances = [...element.querySelectorAll(".chances > div")];
    this.patches = [...element.querySelectorAll("rect")];
    this.playing = this.visible = false;
    this.held = 0;
    this.slider.addEventListener("input", () => { this.play(false); this.show(Number(this.slider.value)); });
    this.button.addEventListener("click", () => this.play(!this.playing));
    this.show(0);
  }

  play(on) {
    this.playing = on;
    this.button.textContent = on ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", on ? "pause" : "play");
  }

  tick() {
    if (!this.playing || !this.visible) return;
    if (this.step < this.last) this.show(this.step + 1);
    else if (++this.held > 8) { this.held = 0; this.show(0); }
  }

  show(step) {
    this.step = step;
    this.slider.value = step;
    for (const image of this.element.querySelectorAll(".view img")) {
      const rows = Number(image.dataset.rows);
      image.style.left = `${-100 * Math.floor(step / rows)}%`;
      image.style.top = `${-100 * (step % rows)}%`;
    }
    const over = step >= this.last, row = this.data.probabilities && !over ? this.data.probabilities[step] : null;
    this.chances.forEach((element, action) => {
      const taken = !over && this.data.actions[step] === action, chance = row ? row[action] : Number(taken);
      element.className = taken ? "taken" : "";
      element.querySelector(".bar").style.width = `${100 * chance}%`;
      element.querySelector(".value").textContent = row ? `${(100 * chance).toFixed(1)} %` : "";
    });
    const map = this.data.patches && !over ? this.data.patches[step] : [], most = Math.max(1e-9, ...map);
    this.patches.forEach((rect, index) => rect.setAttribute("fill-opacity", (0.75 * (map[index] || 0) / most).toFixed(3)));
    this.element.querySelector(".step").textContent = over ? `end of ${this.last}` : `${step + 1} of ${this.last}`;
  }
}

const videos = [...document.querySelectorAll(".video")].map(element => new VideoPlayer(element));
if (videos.length) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    videos.find(video => video.element === entry.target).visible = entry.isIntersecting;
  }), { threshold: 0.3 });
  videos.forEach(video => { seen.observe(video.element); video.play(!still); });
  setInterval(() => videos.forEach(video => video.tick()), 220);
  const all = document.querySelector("#play-all"), wall = document.querySelector(".videos");
  all.addEventListener("click", () => {
    const on = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(on));
    videos.forEach(video => video.play(on));
  });
  all.setAttribute("aria-pressed", String(!still));
  document.querySelector("#show-patches")?.addEventListener("click", event => {
    const on = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(on));
    wall.classList.toggle("hide-patches", !on);
  });
  for (const button of document.querySelectorAll("[data-outcome]")) button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    const on = button.getAttribute("aria-pressed") === "true";
    videos.filter(video => video.element.dataset.result === button.dataset.outcome).forEach(video => { video.element.hidden = !on; });
  });
}

const SAID = {
  original: "knows every class",
  target: "after the deposit",
  recovered: "target + module: no training",
};
const MAPS = "Maps: unseen images, where t-SNE puts the original's features of them; on the other two, each moves to where its "
  + "nearest neighbours are.";
const BY_SAMPLE = " No deposited sample is on them; above are the three of which the original is least sure.";
const COOL = ["#0072B2", "#56B4E9", "#009E73", "#4B4B8F", "#8C8C8C", "#2F4B4F", "#59D458", "#235322", "#558B9C", "#88D794"];
const WARM = ["#D55E00", "#E69F00", "#CC79A7"];
const REACH = 14;  // pixels: how far from a point a click still counts as a click on it
const PACE = 30;  // how often a second a map is drawn while it moves
const BEAT = 90;  // ms a frame, when the story is played

function make(kind, parent, name = "", text = "") {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = text;
  parent.append(made);
  return made;
}

function mark(pen, x, y, size, shape) {  // a dot for preserved classes; triangle, square or diamond for deposited ones
  if (shape < 0) {
    pen.moveTo(x + size, y);
    return pen.arc(x, y, size, 0, 7);
  }
  const corners = [3, 4, 4, 5, 6][shape % 5], turn = [-90, 45, 0, -90, 0][shape % 5];
  for (let at = 0; at < corners; at++) {
    const angle = ((turn + (360 * at) / corners) * Math.PI) / 180;
    pen[at ? "lineTo" : "moveTo"](x + 1.5 * size * Math.cos(angle), y + 1.5 * size * Math.sin(angle));
  }
  pen.closePath();
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

// One network's map: its points move to where they should be, a bit each frame of the screen.
class NetMap {
  constructor(parent, picked) {
    this.canvas = make("canvas", parent);
    this.canvas.setAttribute("role", "img");
    this.now = null;
    this.canvas.addEventListener("click", (event) => {
      const place = this.nearest(event.offsetX, event.offsetY);
      if (place !== null) picked(place);
    });
    this.size = new ResizeObserver(() => this.draw());
    this.size.observe(this.canvas);
  }

  set(scene, fit, points, ring) {  // fit: which points have to be in sight
    if (points === this.points && scene === this.scene && ring === this.ring) return;
    if (scene !== this.scene) this.sort(scene);
    Object.assign(this, { scene, points, ring });
    const xs = [], ys = [];
    for (const all of fit) for (let at = 0; at < all.length; at += 2) { xs.push(all[at]); ys.push(all[at + 1]); }
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    this.reach = 0.6 * Math.max(right - left, high - low) || 1;
    this.centre = [(left + right) / 2, (low + high) / 2];
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || !this.canvas.clientWidth;
    if (still || this.now?.length !== points.length) this.now = Float32Array.from(points);
    this.step();
  }

  sort(scene) {  // each class's name, points, colour and shape; deposited ones are drawn last, over the others
    const places = scene.classes.map(() => []);
    scene.labels.forEach((label, at) => places[label].push(at));
    this.classes = scene.classes.map((name, label) => {
      const shape = scene.given.indexOf(label);
      return { name, places: places[label], shape, colour: shape < 0 ? COOL[label % COOL.length] : WARM[shape % WARM.length] };
    }).filter((one) => one.places.length).sort((one, other) => (one.shape >= 0) - (other.shape >= 0));
  }

  step() {
    clearTimeout(this.next);
    let far = 0;
    for (let at = 0; at < this.now.length; at++) {
      const left = this.points[at] - this.now[at];
      far = Math.max(far, Math.abs(left));
      this.now[at] += 0.5 * left;
    }
    this.draw();
    if (far > this.reach / 500) this.next = setTimeout(() => this.step(), 1000 / PACE);
  }

  place(at) {
    const { width, height, centre, now } = this, scale = Math.min(width, height) / 2 / this.reach;
    return [width / 2 + (now[2 * at] - centre[0]) * scale, height / 2 - (now[2 * at + 1] - centre[1]) * scale];
  }

  draw() {
    const { canvas, scene } = this, [width, height, dots] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
    if (!width || !this.now) return;
    Object.assign(this, { width, height });
    if (canvas.width !== Math.round(width * dots)) canvas.width = Math.round(width * dots);
    if (canvas.height !== Math.round(height * dots)) canvas.height = Math.round(height * dots);
    const pen = canvas.getContext("2d"), size = Math.max(1.8, Math.min(width, height) / 110);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = "#222222";
    pen.lineWidth = 0.6;
    const where = scene.labels.map((_, at) => this.place(at));
    for (const { places, shape, colour } of this.classes) {
      pen.fillStyle = colour;
      for (const one of shape < 0 ? [places] : places.map((at) => [at])) {  // all dots at once; outlines one by one
        pen.beginPath();
        for (const at of one) mark(pen, ...where[at], size, shape);
        pen.fill();
        if (shape >= 0) pen.stroke();
      }
    }
    const names = [];
    pen.font = `${Math.max(13, Math.min(32, width / 20))}px sans-serif`;
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.strokeStyle = "white";
    pen.fillStyle = "#222222";
    if (scene.classes.length <= 20) for (const { name, places } of this.classes) {
      const heights = places.map((at) => where[at][1]).sort((a, b) => a - b);
      const [x, y] = [median(places.map((at) => where[at][0])), heights[heights.length >> 3] - 5];
      names.push([name, x, y]);
    }
    for (const one of names) pen.strokeText(...one);
    for (const one of names) pen.fillText(...one);  // after all strokes, which would hide a name close by
    if (this.ring >= 0) {
      pen.lineWidth = 2.5;
      pen.strokeStyle = "#222222";
      pen.beginPath();
      pen.arc(...this.place(this.ring), 9, 0, 7);
      pen.stroke();
    }
  }

  nearest(x, y) {
    let best = null, least = REACH;
    this.scene?.labels.forEach((_, at) => {
      const [across, down] = this.place(at), far = Math.hypot(across - x, down - y);
      if (far < least) [best, least] = [at, far];
    });
    return best;
  }
}

function column(name, strip, picked) {
  const box = make("section", strip, `lirf-net lirf-${name}`);
  make("h3", box, "", name);
  const said = make("p", box, "", SAID[name] ?? "");
  const six = make("div", box, "lirf-six"), bars = make("div", box, "lirf-bars"), rows = [];
  for (const kind of ["preserved", "deposited"]) {
    const row = make("div", bars, kind), label = make("span", row);
    const bar = make("div", make("div", row, "lirf-rail"), "lirf-fill"), number = make("b", row, "");
    rows.push([label, bar, number]);
  }
  return { said, six, rows, map: new NetMap(box, picked) };
}

function fill({ six, rows }, scene, told) {
  if (six.childElementCount !== scene.samples.length) {
    six.replaceChildren();
    for (const _ of scene.samples) {
      const cell = make("figure", six);
      make("img", cell);
      make("figcaption", cell);
    }
  }
  scene.samples.forEach((sample, at) => {
    const cell = six.children[at], [image, said] = cell.children, right = told.answers[at] === sample.label;
    if (image.src !== sample.src) image.src = sample.src;
    image.alt = `${scene.parts[+sample.deposited]} image of class ${scene.classes[sample.label]}`;
    const answer = scene.classes[told.answers[at]], text = `${right ? "✓" : "✗"} ${answer}`;
    if (said.firstChild?.textContent !== text) {
      cell.className = `${sample.deposited ? "deposited" : "preserved"} ${right ? "right" : "wrong"}`;
      said.replaceChildren();
      make("b", said, "", text);
      make("small", said);
    }
    said.lastChild.textContent = `${told.sure[at]} %`;
  });
  rows.forEach(([label, bar, number], at) => {
    label.textContent = scene.bars[at];
    bar.style.clipPath = `inset(0 ${100 - told.bars[at]}% 0 0)`;  // unlike a width, it moves nothing else
    number.textContent = told.bars[at].toFixed(1);
  });
}

function render({ model, el }) {
  el.classList.add("lirf-story");
  const strip = make("div", el, "lirf-strip"), foot = make("div", el, "lirf-replay"), note = make("p", el, "lirf-note");
  const names = model.get("names");
  strip.style.gridTemplateColumns = `repeat(${names.length}, minmax(0, 1fr))`;
  const columns = names.map((name) => column(name, strip, (place) => {
    model.set("picked", place);
    model.save_changes();
    show();
  }));
  const play = make("button", foot, "jupyter-button", "▶ replay"), slider = make("input", foot), said = make("output", foot);
  play.type = "button";
  play.title = "play the deposit again";
  slider.type = "range";
  slider.min = 0;
  slider.setAttribute("aria-label", "replay: which moment of the deposit is shown");
  let frames = [], places = [], home = null, live = false, timer = 0;

  function floats(view) {
    return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }

  function load() {  // a finished story
    const all = floats(model.get("places")), size = 2 * (model.get("scene").count ?? 0);
    stop();
    live = false;
    frames = model.get("frames");
    home = all.subarray(0, size);
    places = frames.map((_, at) => [1, 2].map((part) => all.subarray((2 * at + part) * size, (2 * at + part + 1) * size)));
    show();
  }

  function hear(told, [view]) {  // a story that is just happening
    if (told.begin) {
      stop();
      live = true;
      [frames, places, home] = [[], [], floats(view)];
      return;
    }
    if (!live) return;
    const both = floats(view);
    frames.push(told.frame);
    places.push([both.subarray(0, home.length), both.subarray(home.length)]);
    show();
  }

  function at() {
    const wanted = live ? -1 : model.get("at");
    return wanted < 0 || wanted >= frames.length ? frames.length - 1 : wanted;
  }

  function go(place) {
    model.set("at", place);
    model.set("epoch", frames[place]?.epoch ?? 0);
    model.save_changes();
    show();
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "▶ replay";
  }

  function show() {
    const scene = model.get("scene"), now = at();
    el.classList.toggle("lirf-empty", now < 0);
    if (now < 0 || !scene.count) return;
    const frame = frames[now], tsne = floats(model.get("tsne")), size = home.length;
    const real = size && tsne.length === names.length * size;
    el.classList.toggle("lirf-maps", !scene.samples);
    const shown = real ? names.map((_, part) => tsne.subarray(part * size, (part + 1) * size)) : [home, ...places[now]];
    columns.forEach((one, part) => {
      if (scene.samples) fill(one, scene, part ? frame[names[part]] : scene.original);
      one.map.set(scene, real ? [home, shown[part]] : [home], shown[part], model.get("picked"));
      one.map.canvas.setAttribute("aria-label", `map of the ${names[part]}'s features. ${model.get("alt")}`);
    });
    if (scene.samples) columns[1].said.textContent = `${SAID.target}; module: ${frame.module} % of lower blocks`;
    const epochs = scene.epochs ?? 0;
    slider.max = live ? 1000 : Math.max(frames.length - 1, 1);
    slider.value = live ? (1000 * frame.epoch) / epochs : now;
    const epoch = `epoch ${+frame.epoch.toFixed(1)} of ${epochs}`;
    slider.setAttribute("aria-valuetext", epoch);
    said.textContent = epoch;
    play.disabled = slider.disabled = live || frames.length < 2;
    note.textContent = MAPS + (scene.given.length ? "" : BY_SAMPLE);
  }

  slider.addEventListener("input", () => { stop(); go(slider.valueAsNumber); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (at() >= frames.length - 1) go(0);
    play.textContent = "❚❚ pause";
    timer = setInterval(() => (at() < frames.length - 1 && document.contains(el) ? go(at() + 1) : stop()), BEAT);
  });
  const watched = "change:at change:picked change:tsne change:alt";
  model.on("change:frames change:scene change:places", load);
  model.on(watched, show);
  model.on("msg:custom", hear);
  load();
  return () => {
    stop();
    columns.forEach((one) => one.map.size.disconnect());
    model.off("change:frames change:scene change:places", load);
    model.off(watched, show);
    model.off("msg:custom", hear);
  };
}

export default { render };

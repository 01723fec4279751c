const WIDTH = 190, HEIGHT = 128, LEFT = 36, RIGHT = 6, TOP = 26, BOTTOM = 22;  // no larger than it is shown

function ticks(low, high) {  // two to six round numbers
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough), found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(+at.toPrecision(6));
  return found;
}

function panel([key, title, colour, dashes], history, epochs, epoch) {
  const there = history.length && key in history[0], values = there ? history.map((entry) => entry[key] ?? 0) : [];
  let low = Math.min(...values), high = Math.max(...values);
  if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
  const x = (at) => LEFT + ((at - 1) / Math.max(epochs - 1, 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const symbol = title.replace(/_(\w+)/, '<tspan dy="3" class="index">$1</tspan><tspan dy="-3">') + (title.includes("_") ? "</tspan>" : "");
  let drawn = `<text x="0" y="15" class="title">${symbol}</text>`;
  drawn += `<path d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}" class="axis"/>`;
  drawn += `<text x="${WIDTH - RIGHT}" y="${HEIGHT - 6}" text-anchor="end">epoch ${epochs}</text>`;
  if (!there) {
    const said = history.length ? "off (λ = 0)" : "";
    return drawn + `<text x="${WIDTH / 2 + 15}" y="${HEIGHT / 2}" text-anchor="middle" class="title">${said}</text>`;
  }
  for (const tick of ticks(low, high)) {
    drawn += `<path d="M${LEFT - 3} ${y(tick)}h3" class="axis"/>`;
    drawn += `<text x="${LEFT - 6}" y="${y(tick) + 4}" text-anchor="end">${tick}</text>`;
  }
  const points = values.map((value, at) => `${x(history[at].epoch).toFixed(1)},${y(value).toFixed(1)}`);
  drawn += `<polyline points="${points.join(" ")}" stroke="${colour}" stroke-dasharray="${dashes}" class="curve"/>`;
  if (points.length === 1) drawn += `<circle cx="${points[0].split(",")[0]}" cy="${points[0].split(",")[1]}" r="4" fill="${colour}"/>`;
  if (epoch >= 1) drawn += `<path d="M${x(epoch)} ${TOP}V${HEIGHT - BOTTOM}" class="now"/>`;
  return drawn;
}

function render({ model, el }) {
  el.classList.add("lirf-curves");
  function draw() {
    const [history, epochs] = [model.get("history"), model.get("epochs")];
    const epoch = Math.min(model.get("epoch"), epochs);
    el.setAttribute("role", "img");
    el.setAttribute("aria-label", model.get("alt"));
    el.innerHTML = model.get("terms").map((term) =>
      `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true">${panel(term, history, epochs, epoch)}</svg>`).join("");
  }
  const watched = ["history", "epochs", "terms", "epoch", "alt"].map((name) => `change:${name}`).join(" ");
  model.on(watched, draw);
  draw();
  return () => model.off(watched, draw);
}

export default { render };

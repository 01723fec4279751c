function render({ model, el }) {
  const id = `lirf-knob-${Math.random().toString(36).slice(2)}`, choices = model.get("choices");
  const label = document.createElement("label"), field = document.createElement(choices.length ? "select" : "input");
  const slider = document.createElement("input");
  label.htmlFor = field.id = id;
  label.append(model.get("description"));
  if (model.get("symbol")) {
    const symbol = document.createElement("i");
    const [letter, index] = model.get("symbol").split("_");
    symbol.append(` · ${letter}`);
    if (index) symbol.append(Object.assign(document.createElement("sub"), { textContent: index }));
    label.append(symbol);
  }
  el.classList.add("lirf-knob");
  el.title = model.get("tooltip");
  for (const [text, value] of choices) field.add(new Option(text, value));
  if (!choices.length) {
    field.type = "text";
    field.inputMode = "decimal";
    field.autocomplete = "off";
    slider.type = "range";
    slider.min = 0;
    slider.setAttribute("aria-label", `${model.get("description")} ${model.get("symbol")}`.trim());
    slider.addEventListener("input", () => turn(model.get("steps")[slider.valueAsNumber][1]));
  }
  el.append(label, ...(choices.length ? [field] : [slider, field]));
  field.addEventListener("change", () => {
    const text = field.value.trim(), known = model.get("steps").find(([name]) => name === text);
    turn(choices.length ? text : known ? known[1] : text !== "" && Number.isFinite(+text) ? +text : text);
  });

  function turn(value) {
    model.set("value", value);
    model.save_changes();
    show();
  }

  function show() {
    const value = model.get("value"), steps = model.get("steps");
    el.classList.toggle("lirf-off", !model.get("shown"));
    field.setAttribute("aria-invalid", model.get("wrong"));
    if (choices.length) return void (field.value = value);
    const text = steps.find(([, step]) => step === value)?.[0] ?? String(value);
    if (document.activeElement !== field || !model.get("wrong")) field.value = text;
    slider.max = steps.length - 1;
    slider.value = Math.max(0, steps.findLastIndex(([, step]) => step <= value));
    slider.setAttribute("aria-valuetext", text);
  }

  const watched = ["value", "steps", "wrong", "shown"].map((name) => `change:${name}`).join(" ");
  model.on(watched, show);
  show();
  return () => model.off(watched, show);
}

export default { render };

const AWAY = {
  restarting: "The kernel was restarted, and this panel's runs are gone: run this cell again.",
  autorestarting: "The kernel died and was restarted, and this panel's runs are gone: run this cell again.",
  dead: "The kernel has died: restart it, then run this cell again.",
  terminating: "The kernel was shut down: start it, then run this cell again.",
};
const GROUPS = ".lirf-classes, .lirf-controls .widget-toggle-buttons";
const PATIENCE = 700;  // ms that the kernel may be busy after something was turned before that is said

function render({ model, el }) {
  const note = document.createElement("div");
  note.className = "lirf-away";
  note.setAttribute("role", "status");
  el.classList.add("lirf-frame");
  el.append(note);
  const off = new AbortController();
  let panel = null, gone = false, timer = 0;

  function say(text) {
    note.textContent = text;
    panel?.classList.toggle("lirf-is-away", gone);
  }

  function present() {
    if (document.fullscreenElement) document.exitFullscreen();
    else panel.requestFullscreen().catch(() => say("This browser can't show the panel in the whole window."));
  }

  function presenting() {
    const on = document.fullscreenElement === panel;
    panel.querySelector(".lirf-top .widget-html button").textContent = on ? "leave (F)" : "present (F)";
    model.set("presenting", on);
    model.save_changes();
  }

  function copy({ target }) {
    const text = target.textContent;
    navigator.clipboard.writeText(target.nextElementSibling.textContent);
    target.textContent = "copied";
    setTimeout(() => (target.textContent = text), 1500);
  }

  function together({ target }) {  // the buttons of a group are one stop of the Tab key; arrows move among them
    const group = target.closest(GROUPS);
    if (!group) return;
    group.setAttribute("role", "toolbar");
    group.setAttribute("aria-label", "arrow keys move among these buttons");
    for (const button of group.querySelectorAll("button")) button.tabIndex = button === target ? 0 : -1;
  }

  function along({ key, target }) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key], buttons = [...target.closest(GROUPS)?.querySelectorAll("button") ?? []];
    if (step) buttons[buttons.indexOf(target) + step]?.focus();
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=text], input[type=number], textarea, select");
    if (model.get("presents") && event.key.toLowerCase() === "f" && !typing && !event.repeat) present();
    along(event);
    event.stopPropagation();  // JupyterLab would take a letter for a command
  }

  function attach() {
    panel = el.closest(".lirf");
    if (!panel) return requestAnimationFrame(attach);
    panel.tabIndex = -1;  // a click on a map, or beside the controls, leaves the keys in the panel
    panel.addEventListener("focusin", together, { signal: off.signal });
    panel.addEventListener("keydown", key, { signal: off.signal });
    panel.addEventListener("lirf-present", present, { signal: off.signal });
    panel.addEventListener("fullscreenchange", presenting, { signal: off.signal });
    panel.addEventListener("lirf-copy", copy, { signal: off.signal });
    panel.addEventListener("input", waiting, { signal: off.signal });
    panel.addEventListener("click", waiting, { signal: off.signal });
  }

  function waiting() {  // the kernel answers by changing something in the panel; if it doesn't, it is busy
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!gone && kernel?.status === "busy") say("The kernel is busy with another cell: the panel answers when it is free.");
    }, PATIENCE);
  }

  const kernel = model.widget_manager?.kernel;
  function status(_, now) {
    if (AWAY[now]) { gone = true; say(AWAY[now]); }
    else if (!gone && now === "idle") { clearTimeout(timer); say(""); }
  }
  kernel?.statusChanged?.connect(status);
  kernel?.disposed?.connect(shut);
  function shut() { status(null, "terminating"); }

  attach();
  return () => {
    off.abort();
    clearTimeout(timer);
    kernel?.statusChanged?.disconnect(status);
    kernel?.disposed?.disconnect(shut);
  };
}

export default { render };

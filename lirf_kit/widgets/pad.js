const SIDE = 224, PEN = 30;

function render({ model, el }) {
  const [height, width, channels] = model.get("shape"), grey = channels === 1;
  const canvas = document.createElement("canvas"), clear = document.createElement("button");
  const note = document.createElement("span");
  canvas.width = canvas.height = SIDE;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", grey ? "draw a digit here, by mouse, pen or finger" : "click here, then paste an image; or drop one");
  clear.type = "button";
  clear.className = "jupyter-button";
  clear.textContent = "clear";
  el.classList.add("lirf-pad");
  note.setAttribute("role", "status");
  el.append(canvas, clear, note);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let last = null, waiting = 0;

  function wipe() {
    note.textContent = "";
    pen.fillStyle = "black";
    pen.fillRect(0, 0, SIDE, SIDE);
    if (!model.get("pixels").byteLength) return;
    model.set("pixels", new DataView(new ArrayBuffer(0)));
    model.save_changes();
  }

  function box(pixels) {  // what is drawn, with a margin and square: the data sets' digits fill their images
    let [left, right, top, bottom] = [SIDE, 0, SIDE, 0];
    for (let at = 0; at < SIDE * SIDE; at++) {
      if (pixels[4 * at] < 128) continue;
      const [x, y] = [at % SIDE, Math.floor(at / SIDE)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    }
    if (right < left) return null;
    const side = Math.max(right - left, bottom - top) + 2;
    return [(left + right - side) / 2, (top + bottom - side) / 2, side];
  }

  function send() {
    waiting = 0;
    const where = grey ? box(pen.getImageData(0, 0, SIDE, SIDE).data) : [0, 0, SIDE];
    if (!where) return;
    const small = new OffscreenCanvas(8 * width, 8 * height).getContext("2d");
    small.fillRect(0, 0, 8 * width, 8 * height);
    small.drawImage(canvas, where[0], where[1], where[2], where[2], 0, 0, 8 * width, 8 * height);
    const fine = small.getImageData(0, 0, 8 * width, 8 * height).data, found = new Uint8Array(height * width * channels);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) {
      let sum = 0;  // the mean of 8×8 finer pixels
      for (let at = 0; at < 64; at++) sum += fine[4 * ((8 * y + (at >> 3)) * 8 * width + 8 * x + (at & 7)) + c];
      found[(y * width + x) * channels + c] = Math.round(sum / 64);
    }
    model.set("pixels", new DataView(found.buffer));
    model.save_changes();
  }

  function soon() { waiting ||= setTimeout(send, 60); }

  function stroke(event) {
    const across = (event.offsetX * SIDE) / canvas.clientWidth, down = (event.offsetY * SIDE) / canvas.clientHeight;
    pen.strokeStyle = "white";
    pen.lineWidth = PEN;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...(last ?? [across, down]));
    pen.lineTo(across, down);
    pen.stroke();
    last = [across, down];
    soon();
  }

  async function take({ items }) {  // the middle square of the first image
    const file = [...items].map((item) => item.getAsFile()).find((one) => one?.type.startsWith("image/"));
    const image = file && (await createImageBitmap(file).catch(() => null));
    note.textContent = image ? "" : "That is no image: drop or paste a picture.";
    if (!image) return;
    const side = Math.min(image.width, image.height);
    pen.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    send();
  }

  if (grey) {
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); last = null; stroke(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
    canvas.addEventListener("pointerup", () => { last = null; });
  }
  function given(event, data) {  // JupyterLab would paste cells, and the browser would open the file
    event.preventDefault();
    event.stopPropagation();
    take(data);
  }
  el.addEventListener("dragover", (event) => event.preventDefault());
  el.addEventListener("drop", (event) => given(event, event.dataTransfer));
  el.addEventListener("paste", (event) => given(event, event.clipboardData));
  clear.addEventListener("click", wipe);
  wipe();
}

export default { render };

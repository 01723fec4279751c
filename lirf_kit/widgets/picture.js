// One transparent pixel.
const EMPTY = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

function render({ model, el }) {
  const image = document.createElement("img");
  image.src = EMPTY;  // without a source, an image in a cell that is scrolled away would stay blank
  let shown = null, newest = 0;

  async function draw() {  // the old picture stays until the new one is decoded
    const mine = ++newest;
    el.classList.toggle("lirf-nothing", !model.get("png").byteLength);
    if (!model.get("png").byteLength) return void (image.src = EMPTY);
    const url = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
    const decoded = new Image();
    decoded.src = url;
    await decoded.decode();
    if (mine !== newest) return URL.revokeObjectURL(url);
    image.src = url;
    if (shown) URL.revokeObjectURL(shown);
    shown = url;
  }

  function describe() {
    image.alt = el.dataset.said = model.get("alt");
  }

  image.addEventListener("click", () => {
    model.set("clicked", model.get("clicked") + 1);
    model.save_changes();
  });
  model.on("change:png", draw);
  model.on("change:alt", describe);
  el.classList.add("lirf-picture");
  el.append(image);
  describe();
  draw();
  return () => {
    newest += 1;
    model.off("change:png", draw);
    model.off("change:alt", describe);
    if (shown) URL.revokeObjectURL(shown);
  };
}

export default { render };

"""A picture in a notebook that is described, can be clicked, and is replaced without flicker.

ipywidgets' own Image has neither alternative text nor clicks; that is the reason for anywidget, which puts the few
lines of JavaScript below on the page. They load nothing: the picture works offline.
"""

import anywidget
import traitlets

SCRIPT = """
function place(event, image) {  // as shares of the picture from its top left; null beside it (object-fit: contain)
  const box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const across = (event.clientX - box.left - box.width / 2) / (image.naturalWidth * scale) + 0.5;
  const down = (event.clientY - box.top - box.height / 2) / (image.naturalHeight * scale) + 0.5;
  return Math.min(across, down) >= 0 && Math.max(across, down) <= 1 ? [across, down] : null;
}

function render({ model, el }) {
  const image = document.createElement("img");
  let shown = null, newest = 0;

  async function draw() {  // the old picture stays until the new one is decoded
    const mine = ++newest;
    if (!model.get("png").byteLength) return image.removeAttribute("src");
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
    image.alt = model.get("alt");
  }

  image.addEventListener("click", (event) => {
    const where = image.naturalWidth ? place(event, image) : null;
    if (!where) return;
    model.set("clicked", [...where, (model.get("clicked")[2] ?? 0) + 1]);
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
"""


class Picture(anywidget.AnyWidget):
    """A PNG on the page; it fills its place and keeps its proportions.

    Attributes
    ----------
    png : bytes
        The picture; a new one takes the place of the old one once it is decoded.
    alt : str
        What is in it, for whoever can't see it.
    clicked : tuple
        Where it was clicked last: x and y, shares from 0 to 1 of the picture from its top left, and the how manieth
        click this was, so that the same place twice counts as two. Empty before the first.
    """

    _esm = SCRIPT
    _css = ".lirf-picture > img {display: block; width: 100%; height: 100%; object-fit: contain}"
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    clicked = traitlets.Tuple().tag(sync=True)

// On a narrow page a wide figure scrolls at a size at which its labels can be read, instead of shrinking.
window.addEventListener("load", () => {
  for (const image of document.querySelectorAll(".bd-article img")) {
    const block = image.closest("div.output, figure, p, div");
    if (block && image.naturalWidth > 1.7 * block.clientWidth) block.classList.add("wide-figure");
  }
});

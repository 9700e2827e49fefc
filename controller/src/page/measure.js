// For a test: what people can read of the page, and how well. One line for each text, or for each
// bar, is left in an attribute of the body. Contrast is as WCAG 2.2 defines it (1.4.3, 1.4.11).
(() => {
  const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) =>
    0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const lines = [];
  const plain = (text) => text.replace(/[<>&"|\s]+/g, " ").trim().slice(0, 40);
  const say = (what, ratio, least, text) =>
    lines.push([what, ratio.toFixed(2), least, plain(text)].join("|"));
  const text = (element, style, words) => {
    const size = parseFloat(style.fontSize);
    const is_large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    say("text", contrast(parse(style.color), ground(element)), is_large ? 3 : 4.5, words);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const is_seen = element.getClientRects().length > 0 && element.tagName !== "SCRIPT";
    if (is_seen && walker.currentNode.data.trim()) {
      text(element, getComputedStyle(element), walker.currentNode.data);
    }
  }
  for (const element of document.body.querySelectorAll("*")) {
    const before = getComputedStyle(element, "::before");
    const is_seen = element.getClientRects().length > 0 && before.content !== "none";
    if (is_seen) text(element, before, `before ${before.content}`);
  }
  const colour = (name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    const found = parse(getComputedStyle(probe).color);
    probe.remove();
    return found;
  };
  for (const bar of document.querySelectorAll("meter, progress")) {
    const share = (bar.value - (bar.min || 0)) / (bar.max - (bar.min || 0));
    const label = bar.getAttribute("aria-label") || "";
    const words = `${bar.tagName} ${label} ${share.toFixed(2)}`;
    say("bar", contrast(colour("--fill"), colour("--track")), 3, words);
    if (!label || bar.offsetWidth < 40) say("bar", 0, 3, `${words} cannot be told or seen`);
  }
  document.body.dataset.scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.body.dataset.measured = lines.join("\n");
})();

// Visible texts whose contrast with what is painted behind them is under 4.5:1. Colours are resolved by painting one pixel.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function paint(colours) {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return canvas.getImageData(0, 0, 1, 1).data;
}
function luminance([red, green, blue]) {
  const linear = [red, green, blue].map((value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".hidden, .skip, script, dialog, [class*=fresh]")) continue;
  const behind = [];
  let seen = 1;
  for (let one = element; one; one = one.parentElement) {
    behind.unshift(getComputedStyle(one).backgroundColor);
    seen *= Number(getComputedStyle(one).opacity);
  }
  const ground = paint(behind);
  const text = paint([...behind, getComputedStyle(element).color]);
  const [low, high] = [luminance(ground), luminance(text)].sort((a, b) => a - b);
  const ratio = (high + 0.05) / (low + 0.05);
  if (seen === 1 && ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${walker.currentNode.data.trim().slice(0, 40)}`);
}
return [...new Set(poor)];

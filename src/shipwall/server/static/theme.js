// Before the first paint, so that a dark room stays dark.
"use strict";
{
  let chosen = null;
  try { chosen = localStorage.getItem("shipwall-theme"); } catch { /* storage may be forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

// The token stands behind "#": it reaches no request line and no log, only the body of one POST.
"use strict";
const form = document.getElementById("login");
const field = document.getElementById("token");
const wrong = document.getElementById("wrong");

async function logIn(token) {
  wrong.hidden = true;
  try {
    const answer = await fetch("/api/v1/login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    if (answer.ok) { location.replace("/"); return; }
    const said = await answer.json().catch(() => ({}));
    wrong.textContent = said.line || `refused (${answer.status})`;
  } catch {
    wrong.textContent = "The server does not answer.";
  }
  wrong.hidden = false;
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = field.value.trim();
  logIn(text.slice(text.indexOf("#") + 1));
});
function useLink() {
  if (location.hash.length <= 1) return;
  const token = location.hash.slice(1);
  history.replaceState(null, "", "/login");
  logIn(token);
}
addEventListener("hashchange", useLink);
useLink();

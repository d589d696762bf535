// Fetches the same page every few seconds while it is looked at, and shows what has changed.
"use strict";
const SECONDS = 4;
const live = document.getElementById("live");
// JupyterHub takes a cookie from a script only together with it (since 4.1).
const token = document.querySelector("meta[name=token]").content;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-XSRFToken": token }, redirect: "manual" });
    // The login has to be renewed, which a page does by itself.
    if (answer.type === "opaqueredirect") return location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    show(fresh.getElementById("contents"));
    document.title = fresh.title;
    say("Live.");
  } catch (error) {
    say("Not live: the hub's proxy or this service does not answer. Trying again.");
  }
}

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

function show(fresh) {
  const old = document.getElementById("contents");
  const field = document.activeElement;
  // Somebody who is typing is not disturbed.
  if (!fresh || old.isEqualNode(fresh) || (field && old.contains(field) && field.matches("input"))) return;
  const focused = field && old.contains(field) ? field.id : "";
  const open = [...old.querySelectorAll("details[open]")].map((one) => one.id);
  old.replaceWith(document.adoptNode(fresh));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

setInterval(refresh, SECONDS * 1000);
document.addEventListener("visibilitychange", refresh);
setTimeout(refresh, 1000);

// How the gateway and what it stands on are now, as /health says.
const EVERY_MS = 5000;
const SAID = {
  ok: "Everything answers.",
  degraded: "It serves, without some of its parts.",
  down: "It takes no requests now.",
};
const status = document.querySelector("#status");
const table = document.querySelector("#parts");

const row = (name, state, time) => {
  const cells = [name, state, time].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  });
  cells[1].className = state;
  const line = document.createElement("tr");
  line.append(...cells);
  return line;
};

const show = (health) => {
  const parts = Object.entries(health.parts).map(([name, part]) =>
    row(name, part.status, part.latency_ms === undefined ? "" : `${part.latency_ms} ms`),
  );
  const deployments = Object.entries(health.deployments).map(([name, phase]) => row(name, phase, ""));
  table.tBodies[0].replaceChildren(...parts, ...deployments);
  table.hidden = false;
  status.textContent = SAID[health.status];
  status.className = health.status;
};

const look = async () => {
  try {
    show(await (await fetch("/health")).json());
  } catch {
    table.hidden = true;
    status.textContent = "It does not answer.";
    status.className = "down";
  }
};

const ask = document.querySelector("#ask");
ask.textContent = ask.textContent.replace("{origin}", location.origin);
look();
setInterval(look, EVERY_MS);

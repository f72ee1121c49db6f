// Keeps the fleet's page up to date: numbers, charts, decisions and instances, from the controller's status.

import { Timeline, spanOf } from "./chart.js";
import { duration, fixed, money, seconds, show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";
import { localTimes, time } from "./times.js";

const INTERVAL_MS = 2000;
const HIDDEN_INTERVAL_MS = 20_000;
const ANNOUNCE_EVERY_MS = 15_000;
// As in web_tier/pages/fleet.py.
const STALE_SECONDS = 30;
const DECISIONS_SHOWN = 12;
const MAX_ROWS = 30;

const element = (id) => document.getElementById(id);
let announcedAt = 0;

const layer = (name, options = {}) => ({ name, of: (sample) => sample[name], ...options });
const timeline = new Timeline(
  element("panels"),
  element("cursor"),
  [
    { svg: element("panel-instances"), height: 130, layers: [layer("running", { stepped: true }), layer("booting", { stepped: true }), layer("desired", { stepped: true, line: true })] },
    { svg: element("panel-backlog"), height: 130, layers: [layer("in_flight"), layer("visible")] },
    { svg: element("panel-speed"), height: 80, layers: [layer("images_per_second")] },
  ],
  { read, label: (seconds, fine) => time(fine ? "clock" : "minute", seconds) },
);

let wake = () => {};

localTimes();
document.addEventListener("visibilitychange", () => wake());
follow();

async function follow() {
  for (;;) {
    await refresh();
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, document.hidden ? HIDDEN_INTERVAL_MS : INTERVAL_MS);
    });
  }
}

async function refresh() {
  try {
    const response = await fetch(element("fleet").dataset.fleetUrl);
    if (response.ok) draw(await response.json());
    else if (response.status !== 404) throw new Error(response.statusText);
    element("unreachable").hidden = true;
  } catch {
    element("unreachable").hidden = false;
  }
}

function draw(status) {
  const latest = status.history.at(-1);
  element("no-controller").hidden = true;
  element("fleet-status").hidden = false;
  const age = Math.max(0, Date.now() / 1000 - status.at);
  element("stale").hidden = age <= STALE_SECONDS;
  text(element("stale-age"), duration(age));
  text(element("headline"), headline(latest));
  for (const [name, value] of Object.entries(fields(status, latest))) {
    text(document.querySelector(`[data-field="${name}"]`), value);
  }
  element("history").hidden = !latest;
  if (latest) {
    text(element("span"), spanOf(status.history).words);
    timeline.update(status.history);
  }
  drawRemarks(status.remarks);
  drawDecisions(status.decisions.slice(-DECISIONS_SHOWN).reverse());
  drawInstances(status.instances);
  drawCosts(status.costs);
  drawSamples(status.history);
  announce(headline(latest));
}

function fields(status, latest) {
  const oldest = status.oldest_job_age_seconds;
  return {
    ...(latest && {
      visible: show(latest.visible),
      in_flight: show(latest.in_flight),
      desired: show(latest.desired),
      booting: show(latest.booting),
      running: show(latest.running),
      images_per_second: fixed(latest.images_per_second),
    }),
    cost: money(status.costs.total.usd_per_hour),
    oldest: oldest === null ? "–" : seconds(oldest),
    target: seconds(status.target_latency_seconds),
    service: service(status),
    boot: seconds(status.expected_boot_seconds),
    answered: show(status.answered),
    profile: status.profile,
  };
}

function service(status) {
  const time = fixed(status.mean_service_seconds * 1000, 0);
  return status.mean_service_measured ? gettext("%(time)s ms, measured", { time }) : gettext("%(time)s ms, assumed", { time });
}

// As in web_tier/pages/fleet.py.
function headline(latest) {
  if (!latest) return gettext("No controller has reported yet");
  const { running, booting } = latest;
  if (!running && !booting) return latest.visible + latest.in_flight ? gettext("Work, but no workers yet") : gettext("No workers, no work");
  const parts = [];
  if (running) parts.push(ngettext("%(count)s worker running", "%(count)s workers running", running, { count: show(running) }));
  if (booting) parts.push(ngettext("%(count)s booting", "%(count)s booting", booting, { count: show(booting) }));
  return parts.join(gettext(", "));
}

function drawRemarks(remarks) {
  element("remarks").hidden = !remarks.length;
  replace(element("remarks"), remarks.map(remarkOf));
}

function remarkOf({ sentence, alarming }) {
  const remark = make("li", sentence, alarming ? "alarming" : "");
  remark.lang = "en";
  remark.dir = "ltr";
  return remark;
}

// Shows the sample under the cursor, or the latest, in the legends; returns it as a sentence for screen readers.
function read(sample, isNow) {
  const at = isNow ? gettext("now") : time("clock", sample.at);
  text(element("moment"), at);
  for (const name of ["running", "booting", "desired", "in_flight", "visible"]) {
    text(document.querySelector(`[data-reading="${name}"]`), show(sample[name]));
  }
  text(document.querySelector('[data-reading="images_per_second"]'), fixed(sample.images_per_second));
  return gettext("%(at)s: %(running)s running, %(booting)s booting, %(desired)s desired; %(visible)s waiting, %(in_flight)s in flight; %(rate)s images per second", {
    at,
    running: show(sample.running),
    booting: show(sample.booting),
    desired: show(sample.desired),
    visible: show(sample.visible),
    in_flight: show(sample.in_flight),
    rate: fixed(sample.images_per_second),
  });
}

function drawDecisions(decisions) {
  element("no-decisions").hidden = decisions.length > 0;
  const lines = decisions.map(({ at, change, reason }) => {
    const item = make("li", "");
    item.dataset.change = change > 0 ? "more" : change < 0 ? "less" : "same";
    const sign = change > 0 ? `+${change}` : change < 0 ? String(change) : "±0";
    item.append(moment(at), " ", make("b", sign, "change"), " ", reasonOf(reason));
    return item;
  });
  replace(element("decisions"), lines);
}

// The controller's reasons are lines of its log, in English.
function reasonOf(text) {
  const reason = make("span", text, "reason");
  reason.lang = "en";
  reason.dir = "ltr";
  return reason;
}

function drawInstances(instances) {
  element("instances").hidden = !instances.length;
  element("no-instances").hidden = instances.length > 0;
  const rows = instances.map((instance) => {
    const age = duration(Math.max(0, Date.now() / 1000 - instance.launched_at));
    const cells = [make("span", stateOf(instance), `state-${instance.state}`), age, show(instance.in_hand), show(instance.answered), fixed(instance.images_per_second)];
    const row = tableRow(instance.name, cells);
    row.firstChild.title = instance.instance_id;
    return row;
  });
  replace(element("instances").tBodies[0], rows);
}

function stateOf({ state }) {
  return { running: gettext("running"), booting: gettext("booting"), silent: gettext("silent") }[state] ?? state;
}

function drawCosts(costs) {
  for (const kind of ["compute", "requests", "standing", "total"]) {
    text(document.querySelector(`[data-cost="${kind}-hour"]`), money(costs[kind].usd_per_hour));
    text(document.querySelector(`[data-cost="${kind}-images"]`), money(costs[kind].usd_per_1000_images));
  }
}

function drawSamples(history) {
  const minutes = new Map(history.map((sample) => [Math.floor(sample.at / 60), sample]));
  const rows = [...minutes.values()].reverse().slice(0, MAX_ROWS).map((sample) => {
    const counts = [sample.visible, sample.in_flight, sample.desired, sample.booting, sample.running].map(show);
    return tableRow(moment(sample.at), [...counts, fixed(sample.images_per_second)]);
  });
  replace(element("samples").tBodies[0], rows);
}

function tableRow(head, cells) {
  const row = make("tr", "");
  const first = make("th", "");
  first.scope = "row";
  first.append(head);
  row.append(first, ...cells.map((cell) => {
    const data = make("td", "");
    data.append(cell);
    return data;
  }));
  return row;
}

function moment(seconds) {
  const place = make("time", time("clock", seconds));
  place.dateTime = new Date(seconds * 1000).toISOString();
  return place;
}

function make(tag, content, className = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  if (className) made.className = className;
  return made;
}

// Writes only changed text, so that a selection or a screen reader's position is not lost every two seconds.
function text(place, value) {
  if (place.textContent !== String(value)) place.textContent = value;
}

function replace(place, lines) {
  const same = place.children.length === lines.length && lines.every((line, index) => place.children[index].textContent === line.textContent);
  if (!same) place.replaceChildren(...lines);
}

function announce(sentence) {
  if (performance.now() - announcedAt < ANNOUNCE_EVERY_MS) return;
  announcedAt = performance.now();
  text(element("announcer"), sentence);
}
